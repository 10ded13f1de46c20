"""Tests the exchanges of the dialect ms-client in both directions with pika, the client library of the older programs."""
import json
import sys
import time
import urllib.request

import pika

EXCHANGES = ["order_notifications", "stock_update", "client_deletion_exchange"]


def request(port, method, path, body=None, token=None):
    """Sends a request to a service; returns the status and the body."""
    message = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    message.add_header("content-type", "application/json")
    if token:
        message.add_header("authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(message, data, timeout=10) as response:
            return response.status, json.loads(response.read() or "null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or "null")


def eventually(what, poll):
    for _ in range(100):
        found = poll()
        if found:
            print(f"  ok  {what}")
            return found
        time.sleep(0.2)
    sys.exit(f"FAILED: {what}")


connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
queues = {}
for exchange in EXCHANGES:
    channel.exchange_declare(exchange=exchange, exchange_type="fanout")
    queues[exchange] = channel.queue_declare(queue="", exclusive=True).method.queue
    channel.queue_bind(exchange=exchange, queue=queues[exchange])


def receive(exchange, expected):
    """The next message of an exchange that contains these members, if it has arrived."""
    while True:
        _, properties, body = channel.basic_get(queues[exchange], auto_ack=True)
        if body is None:
            return None
        message = json.loads(body)
        if all(message.get(name) == value for name, value in expected.items()):
            return properties, message


def publish(exchange, body, message_id=None):
    properties = pika.BasicProperties(message_id=message_id)
    channel.basic_publish(exchange=exchange, routing_key="", body=json.dumps(body), properties=properties)


def stock(product):
    return request(5002, "GET", f"/products/{product}", token=token)[1]["stock"]


def client(name):
    body = {"nom": name, "prenom": "A", "email": f"{name.lower()}@exemple.fr", "telephone": "0612345678",
            "adresse": "1 rue A", "ville": "Paris", "code_postal": "75001", "pays": "France"}
    return request(5001, "POST", "/customers", body, token)[1]["id"]


token = request(5001, "POST", "/login", {"username": "admin", "password": "password"})[1]["token"]
ada, eve = client("Lovelace"), client("Hopper")
order = request(5003, "POST", "/orders", {"client_id": ada, "produit_id": 1, "quantite": 2, "montant_total": 200}, token)[1]
properties, message = eventually(
    "the order is published on order_notifications",
    lambda: receive("order_notifications", {"order_id": order["id"], "client_id": ada, "produit_id": 1, "quantite": 2}),
)
assert message["montant_total"] == 200 and properties.app_id == "souk", (message, properties)
eventually("the sale is published on stock_update", lambda: receive("stock_update", {"produit_id": 1, "quantite": 2}))

before = stock(2)
for _ in range(3):
    publish("stock_update", {"produit_id": 2, "quantite": 4}, message_id="m-1")
eventually("a stock_update of another program is applied", lambda: stock(2) == before - 4)
publish("stock_update", {"produit_id": 2, "quantite": 1})
eventually("a stock_update without a message id is applied", lambda: stock(2) == before - 5)
time.sleep(1)
assert stock(2) == before - 5, "the same message id was applied twice"
print("  ok  the same message id is applied once, and the dialect's own messages never")

request(5003, "POST", "/orders", {"client_id": eve, "produit_id": 3, "montant_total": 179}, token)
publish("client_deletion_exchange", {"client_id": eve})
eventually("a client deletion of another program is applied", lambda: request(5001, "GET", f"/customers/{eve}", token=token)[0] == 404)
request(5001, "DELETE", f"/customers/{ada}", token=token)
eventually("a client deletion is published on client_deletion_exchange", lambda: receive("client_deletion_exchange", {"client_id": ada}))
