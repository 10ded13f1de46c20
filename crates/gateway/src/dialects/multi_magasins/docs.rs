//! The documentation page of each port.

use super::{
    API, CARTS, CARTS_TOO, CLIENTS, EVENTS, GATEWAY, NGINX, ORCHESTRATOR, ORDER_LIST, ORDERS, PAYMENTS, STOCK,
};
use crate::dialects::routes::RouteDoc;

const ALL: &[(&[u16], RouteDoc)] = &[
    (&[GATEWAY, CLIENTS], ("get", "/clients", "All clients")),
    (&[GATEWAY, CLIENTS], ("post", "/clients", "Makes a client of nom and email")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("get", "/panier/{client_id}", "What is in a client's cart")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("post", "/panier", "Puts quantite of produit_id into the cart of client_id")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("delete", "/panier/{item_id}", "Takes an item out of its cart")),
    (&[GATEWAY, ORDERS], ("post", "/commande", "Places an order of client_id and produits")),
    (&[GATEWAY, ORDERS], ("get", "/commande/{id}", "One order")),
    (&[GATEWAY, ORDERS], ("post", "/commande/{id}/etat", "Moves an order; ANNULEE cancels it")),
    (&[GATEWAY, ORCHESTRATOR], ("post", "/saga/commande/", "Places an order of produits and waits for its end")),
    (&[GATEWAY, STOCK], ("post", "/stock/verifier", "Whether produits are there")),
    (&[GATEWAY, STOCK], ("post", "/stock/reserver", "Sets produits aside under id")),
    (&[GATEWAY, STOCK], ("post", "/stock/liberer", "Gives back what is set aside under id")),
    (&[GATEWAY, STOCK], ("post", "/stock/prix", "What produits cost together")),
    (&[GATEWAY, PAYMENTS], ("post", "/paiement", "Pays montant for the order id")),
    (&[GATEWAY, ORDER_LIST], ("get", "/commandes/", "The newest 1,000 orders")),
    (&[GATEWAY, EVENTS], ("get", "/events/", "The events of the newest 1,000 orders")),
    (&[GATEWAY, API], ("get", "/api/v1/magasins/{id}/stock", "What is in a store")),
    (
        &[GATEWAY, API],
        ("post", "/api/v1/magasins/{id}/produits/{produit_id}/vente", "Sells quantite pieces in a store"),
    ),
    (&[GATEWAY, API], ("get", "/api/v1/logistique/stock", "What is in the logistics centre")),
    (&[GATEWAY, API], ("get", "/api/v1/logistique/demandes", "Requests for goods")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/demande", "Asks for goods: magasin_id, produit_id, quantite")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/demandes/{id}/valider", "Sends what was asked for")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/approvisionner", "Sends goods: magasin_id, produit_id, quantite")),
    (
        &[GATEWAY, API],
        ("post", "/api/v1/logistique/verifier_reapprovisionnement", "Sends goods where there are too few"),
    ),
    (&[GATEWAY, API], ("get", "/api/v1/maison-mere/rapport-ventes", "What was sold and what is left")),
    (&[GATEWAY, API], ("get", "/api/v1/maison-mere/performance", "Turnover, shortages, surpluses, trends")),
    (&[GATEWAY, API], ("put", "/api/v1/maison-mere/produits/{id}", "Changes nom, prix, description of a product")),
    (&[NGINX], ("get", "/produits", "All products")),
];

/// Those of a port.
pub(super) fn of(port: u16) -> Vec<RouteDoc> {
    ALL.iter().filter(|(ports, _)| ports.contains(&port)).map(|(_, told)| *told).collect()
}
