# products 1 and 2 once each
curl -s -X POST http://localhost:8002/saga/commande/ -H "Content-Type: application/json" -d '{
  "produits": [
    {"produit_id": 1, "quantite": 1},
    {"produit_id": 2, "quantite": 1}
  ]
}'

# more of product 2 than there is
curl -s -X POST http://localhost:8002/saga/commande/ -H "Content-Type: application/json" -d '{
  "produits": [
    {"produit_id": 2, "quantite": 999}   # quantité volontairement trop grande
  ]
}'

# more money than the provider takes
curl -s -X POST http://localhost:8002/saga/commande/ -H "Content-Type: application/json" -d '{
  "produits": [
    {"id": "produit_4", "qte": 10}   # total = 600 > 500
  ]
}'

# through the gateway
curl -s -X POST http://localhost:8080/saga/commande/ -H "Content-Type: application/json" -d '{"produits":[{"id":"produit_1","qte":1}]}'
