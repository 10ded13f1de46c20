//! The documentation page of each port.

use super::{
    API, CARTS, CARTS_TOO, CLIENTS, EVENTS, GATEWAY, NGINX, ORCHESTRATOR, ORDER_LIST, ORDERS, PAYMENTS, STOCK,
};
use crate::dialects::routes::RouteDoc;

const ALL: &[(&[u16], RouteDoc)] = &[
    (&[GATEWAY, CLIENTS], ("get", "/clients", "All clients")),
    (&[GATEWAY, CLIENTS], ("post", "/clients", "Creates a client from nom and email")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("get", "/panier/{client_id}", "The items of a client's cart")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("post", "/panier", "Adds quantite pieces of produit_id to the cart of client_id")),
    (&[GATEWAY, CARTS, CARTS_TOO], ("delete", "/panier/{item_id}", "Removes an item from its cart")),
    (&[GATEWAY, ORDERS], ("post", "/commande", "Places an order for client_id with produits")),
    (&[GATEWAY, ORDERS], ("get", "/commande/{id}", "One order")),
    (&[GATEWAY, ORDERS], ("post", "/commande/{id}/etat", "Changes the state of an order; ANNULEE cancels it")),
    (&[GATEWAY, ORCHESTRATOR], ("post", "/saga/commande/", "Places an order of produits and waits for its end")),
    (&[GATEWAY, STOCK], ("post", "/stock/verifier", "Checks whether produits are available")),
    (&[GATEWAY, STOCK], ("post", "/stock/reserver", "Reserves produits under id")),
    (&[GATEWAY, STOCK], ("post", "/stock/liberer", "Releases the reservation id")),
    (&[GATEWAY, STOCK], ("post", "/stock/prix", "What produits cost together")),
    (&[GATEWAY, PAYMENTS], ("post", "/paiement", "Pays montant for the order id")),
    (&[GATEWAY, ORDER_LIST], ("get", "/commandes/", "The newest 1,000 orders")),
    (&[GATEWAY, EVENTS], ("get", "/events/", "The events of the newest 1,000 orders")),
    (&[GATEWAY, API], ("get", "/api/v1/magasins/{id}/stock", "The stock of a store")),
    (
        &[GATEWAY, API],
        ("post", "/api/v1/magasins/{id}/produits/{produit_id}/vente", "Sells quantite pieces in a store"),
    ),
    (&[GATEWAY, API], ("get", "/api/v1/logistique/stock", "The stock of the logistics centre")),
    (&[GATEWAY, API], ("get", "/api/v1/logistique/demandes", "Replenishment requests")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/demande", "Requests goods: magasin_id, produit_id, quantite")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/demandes/{id}/valider", "Approves a request and sends the goods")),
    (&[GATEWAY, API], ("post", "/api/v1/logistique/approvisionner", "Sends goods: magasin_id, produit_id, quantite")),
    (
        &[GATEWAY, API],
        ("post", "/api/v1/logistique/verifier_reapprovisionnement", "Sends goods to a store below its threshold"),
    ),
    (&[GATEWAY, API], ("get", "/api/v1/maison-mere/rapport-ventes", "Sales and remaining stock")),
    (&[GATEWAY, API], ("get", "/api/v1/maison-mere/performance", "Turnover, shortages, surpluses, trends")),
    (&[GATEWAY, API], ("put", "/api/v1/maison-mere/produits/{id}", "Changes nom, prix, description of a product")),
    (&[NGINX], ("get", "/produits", "All products")),
];

/// Those of a port.
pub(super) fn of(port: u16) -> Vec<RouteDoc> {
    ALL.iter().filter(|(ports, _)| ports.contains(&port)).map(|(_, doc)| *doc).collect()
}
