// Twenty users for ten seconds on carts, over two gateways in turn; each user has a separate cart.
import http from 'k6/http';
import { check } from 'k6';
import { Counter } from 'k6/metrics';

const GATEWAYS = ['http://127.0.0.1:8010', 'http://127.0.0.2:8010'];
const responseCounters = GATEWAYS.map((_, n) => new Counter(`answered_by_gateway_${n + 1}`));

export const options = {
  vus: 20,
  duration: '10s',
  thresholds: {
    checks: ['rate==1'],
    answered_by_gateway_1: ['count>0'],
    answered_by_gateway_2: ['count>0'],
  },
};

let turn = 0;

// Calls the next gateway in turn.
function call(method, path, body) {
  const n = turn++ % GATEWAYS.length;
  const response = http.request(method, GATEWAYS[n] + path, body && JSON.stringify(body), {
    headers: { 'Content-Type': 'application/json' },
  });
  check(response, { 'a success': (r) => r.status === 200, 'the replica is named': (r) => !!r.headers['X-Instance'] });
  responseCounters[n].add(1, { instance: response.headers['X-Instance'] || 'none' });
  return response;
}

export default function () {
  const client = __VU;
  const item = call('POST', '/panier', { client_id: client, produit_id: 1 + (__ITER % 4), quantite: 1 }).json();
  // Three calls per round, so that each call reaches both gateways.
  const cart = call('GET', `/panier/${client}`).json();
  check(cart, { 'an item added through one gateway is visible through the other': (items) => items.some((i) => i.id === item.id) });
  call('DELETE', `/panier/${item.id}`);
}

export function handleSummary(data) {
  const count = (name) => data.metrics[name].values.count;
  const [one, two] = [count('answered_by_gateway_1'), count('answered_by_gateway_2')];
  const http = data.metrics.http_req_duration.values;
  return {
    stdout: `      ${one + two} requests: ${one} by the first gateway, ${two} by the second; ` +
      `checks ${(data.metrics.checks.values.rate * 100).toFixed(2)} %; median ${http.med.toFixed(1)} ms, p95 ${http['p(95)'].toFixed(1)} ms\n`,
  };
}
