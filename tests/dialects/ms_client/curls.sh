# login
curl -s -X POST http://localhost:5001/login -H "Content-Type: application/json" -d '{"username": "admin", "password": "password"}'

# customers without a token
curl -s http://localhost:5001/customers

# welcome
curl -s http://localhost:5002/
