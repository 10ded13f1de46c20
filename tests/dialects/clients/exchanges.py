"""The exchanges of the dialect ms-client in both directions, as its other programs used them: by pika."""
import json
import sys
import time
import urllib.request

import pika

EXCHANGES = ["order_notifications", "stock_update", "client_deletion_exchange"]


def ask(port, method, path, body=None, token=None):
    """One request to a service; gives the body."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, data, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.loads(refusal.read() or "null")


def eventually(what, happened):
    for _ in range(100):
        found = happened()
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


def heard(exchange, wanted):
    """The next message of an exchange that holds this, if it has come."""
    while True:
        _, properties, body = channel.basic_get(queues[exchange], auto_ack=True)
        if body is None:
            return None
        message = json.loads(body)
        if all(message.get(name) == value for name, value in wanted.items()):
            return properties, message


def tell(exchange, body, message_id=None):
    properties = pika.BasicProperties(message_id=message_id)
    channel.basic_publish(exchange=exchange, routing_key="", body=json.dumps(body), properties=properties)


def stock(product):
    return ask(5002, "GET", f"/products/{product}", token=token)[1]["stock"]


def client(name):
    body = {"nom": name, "prenom": "A", "email": f"{name.lower()}@exemple.fr", "telephone": "0612345678",
            "adresse": "1 rue A", "ville": "Paris", "code_postal": "75001", "pays": "France"}
    return ask(5001, "POST", "/customers", body, token)[1]["id"]


token = ask(5001, "POST", "/login", {"username": "admin", "password": "password"})[1]["token"]
ada, eve = client("Lovelace"), client("Hopper")
order = ask(5003, "POST", "/orders", {"client_id": ada, "produit_id": 1, "quantite": 2, "montant_total": 200}, token)[1]
properties, message = eventually(
    "order_notifications tells of the order",
    lambda: heard("order_notifications", {"order_id": order["id"], "client_id": ada, "produit_id": 1, "quantite": 2}),
)
assert message["montant_total"] == 200 and properties.app_id == "souk", (message, properties)
eventually("stock_update tells what was sold", lambda: heard("stock_update", {"produit_id": 1, "quantite": 2}))

before = stock(2)
for _ in range(3):
    tell("stock_update", {"produit_id": 2, "quantite": 4}, message_id="m-1")
eventually("a stock_update of another program is obeyed", lambda: stock(2) == before - 4)
tell("stock_update", {"produit_id": 2, "quantite": 1})
eventually("one without a message id too", lambda: stock(2) == before - 5)
time.sleep(1)
assert stock(2) == before - 5, "the same message id was obeyed twice"
print("  ok  the same message id is obeyed once, and our own messages never")

ask(5003, "POST", "/orders", {"client_id": eve, "produit_id": 3, "montant_total": 179}, token)
tell("client_deletion_exchange", {"client_id": eve})
eventually("a client deletion of another program is obeyed", lambda: ask(5001, "GET", f"/customers/{eve}", token=token)[0] == 404)
ask(5001, "DELETE", f"/customers/{ada}", token=token)
eventually("client_deletion_exchange tells of ours", lambda: heard("client_deletion_exchange", {"client_id": ada}))
