// Starts GraphiQL. The URL is relative to the page, which is also reached at `/` and behind the prefix of a gateway.
"use strict";
const fetcher = GraphiQL.createFetcher({ url: new URL("graphql", document.baseURI).href });
// A link to the page may hold a query.
const given = new URLSearchParams(location.search);
const props = { fetcher, defaultEditorToolsVisibility: true };
for (const name of ["query", "variables"]) {
  if (given.has(name)) props[name] = given.get(name);
}
ReactDOM.createRoot(document.getElementById("graphiql")).render(React.createElement(GraphiQL, props));
