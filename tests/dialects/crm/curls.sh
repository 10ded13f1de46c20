# add a customer
curl -s -X POST http://localhost:8085/api/customers -H "Content-Type: application/json" -d '{"name":"John Doe","email":"john@example.com","phone":"1234567890","address":"123 Main St"}'

# list customers
curl -s "http://localhost:8085/api/customers?page=1&limit=10"

# place an order
curl -s -X POST http://localhost:8087/api/orders -H "Content-Type: application/json" -d "{\"customer_id\":\"$(curl -s http://localhost:8085/api/customers | sed 's/.*"id":"\([^"]*\)".*/\1/')\",\"items\":[{\"product_name\":\"Laptop\",\"quantity\":1,\"price\":999.99}]}"

# list orders
curl -s http://localhost:8087/api/orders

# report an order
curl -s -o /dev/null -w "%{http_code}" -X POST http://localhost:5001/orders -H "Content-Type: application/json" -d '{"order_id":"1001","customer_id":"42","items":[{"product_name":"Laptop","quantity":1,"price":999.99}],"total_price":999.99,"status":"pending","created_at":"2024-01-01T00:00:00Z"}'
