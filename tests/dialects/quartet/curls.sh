# register
curl -s -X POST http://localhost:3000/users/register -H "Content-Type: application/json" -d '{"username":"alice","email":"alice@example.com","password":"password123"}'

# login
curl -s -X POST http://localhost:3000/users/login -H "Content-Type: application/json" -d '{"email":"alice@example.com","password":"password123"}'

# products
curl -s http://localhost:3000/products

# order
curl -s -X POST http://localhost:3000/orders -H "Content-Type: application/json" -d '{"userId":"1","productId":"1","quantity":2}'

# payment
curl -s -X POST http://localhost:3000/payments -H "Content-Type: application/json" -d '{"orderId":"12345","amount":99.99}'

# GraphQL
curl -s -X POST http://localhost:3002 -H "Content-Type: application/json" -d '{"query":"{ products { id name price } }"}'
