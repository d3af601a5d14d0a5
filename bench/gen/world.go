package gen

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// Kinds of spans, as OTLP numbers them.
const (
	KindInternal = 1
	KindServer   = 2
	KindClient   = 3
)

// Each service has 20 operations: routes that it serves, calls that it makes,
// statements that it runs and one piece of its own work.
const (
	routes     = 11
	calls      = 4
	statements = 4
	operations = routes + calls + statements + 1

	firstCall      = routes
	firstStatement = routes + calls
	ownWork        = operations - 1
)

var (
	serviceNames = [...]string{
		"gateway", "frontend", "checkout", "cart", "payment", "shipping", "catalog", "recommendation",
		"advert", "email", "currency", "auth", "search", "inventory", "pricing", "ledger",
		"fraud", "profile", "notification", "scheduler", "reports", "billing", "geo", "media",
		"quote", "loyalty", "tax", "returns", "warehouse", "audit",
	}
	nouns   = [...]string{"items", "orders", "users", "baskets", "prices", "offers", "events", "batches", "images", "refunds", "labels"}
	methods = [...]string{"GET", "GET", "POST", "GET", "PUT", "GET", "POST", "DELETE", "GET", "PATCH", "GET"}
	tables  = [...]string{"orders", "order_lines", "customers", "stock_moves", "payments", "audit_log", "price_list", "addresses"}
	agents  = [...]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X)",
		"Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
		"okhttp/4.12.0", "Dart/3.4 (dart:io)", "curl/8.5.0", "python-requests/2.32", "kube-probe/1.30",
	}
	failures = [...]string{
		"context deadline exceeded", "connection reset by peer", "pq: deadlock detected",
		"redis: connection pool timeout", "unexpected EOF", "no healthy upstream",
	}
)

// world holds what never changes, encoded for one form.
type world struct {
	attr      byte // tag of an attribute in a span or a record
	services  []service
	agents    [][]byte
	failures  [][]byte // attribute error.type
	exception []byte   // event, but for its time
	resources int
}

type service struct {
	name      string
	operation [operations]operation
	callee    [calls]int // services that the calls go to
	instance  [instancesPerService]instance
}

// operation is a span name with those of its twelve attributes that are the
// same every time.
type operation struct {
	name     string
	path     string // of a route, without the ids
	fixed    []byte
	nameAttr []byte // name as an attribute, for Rows
}

type instance struct {
	address  string
	resource []byte // OTLP Resource message
	peer     []byte // network.peer.address, when this instance is called
	client   []byte // client.address, when this instance calls
}

func newWorld(form Form) *world {
	// Names and addresses are drawn too: the same in every run.
	r := rand.New(rand.NewPCG(7, 7))
	w := &world{attr: 0x4a}
	if form == Rows {
		w.attr = 0x32
	}
	for _, a := range agents {
		w.agents = append(w.agents, w.text(nil, "user_agent.original", a))
	}
	for _, f := range failures {
		w.failures = append(w.failures, w.text(nil, "error.type", f))
	}
	// Attributes of an Event have field number 3.
	event := &world{attr: 0x1a}
	w.exception = appendText(nil, 2, "exception")
	w.exception = event.text(w.exception, "exception.type", "*errors.errorString")
	w.exception = event.text(w.exception, "exception.message", errorMessage)
	w.exception = event.text(w.exception, "exception.stacktrace", stacktrace)
	for i, name := range serviceNames {
		w.services = append(w.services, w.service(r, i, name))
	}
	w.resources = len(w.services) * instancesPerService
	return w
}

func (w *world) service(r *rand.Rand, index int, name string) service {
	s := service{name: name}
	host := name + ".shop-prod.svc.cluster.local"
	for i := range s.instance {
		s.instance[i] = w.instance(r, index, name, i)
	}
	for i := range routes {
		noun := nouns[(index+i)%len(nouns)]
		path := fmt.Sprintf("/api/v%d/%s/%s/", 1+i/8, name, noun)
		fixed := w.text(nil, "http.request.method", methods[i])
		fixed = w.text(fixed, "http.route", path+"{id}")
		fixed = w.text(fixed, "url.scheme", "https")
		fixed = w.text(fixed, "server.address", host)
		fixed = w.number(fixed, "server.port", 8443)
		fixed = w.text(fixed, "network.protocol.version", "2")
		s.operation[i] = w.operation(methods[i]+" "+path+"{id}", path, fixed)
	}
	for i := range calls {
		// Strides without a common factor reach every service from the edge.
		callee := (index*(2*i+3) + 1 + 7*i) % len(serviceNames)
		for callee == index || slices.Contains(s.callee[:i], callee) {
			callee = (callee + 1) % len(serviceNames)
		}
		s.callee[i] = callee
		to := serviceNames[callee]
		fixed := w.text(nil, "server.address", to+".shop-prod.svc.cluster.local")
		fixed = w.number(fixed, "server.port", 8443)
		fixed = w.number(fixed, "network.peer.port", 8443)
		fixed = w.text(fixed, "network.protocol.version", "2")
		fixed = w.text(fixed, "peer.service", to)
		fixed = w.number(fixed, "http.request.resend_count", 0)
		s.operation[firstCall+i] = w.operation("HTTP "+to, "", fixed)
	}
	for i := range statements {
		table := tables[(index*3+i)%len(tables)]
		system, verb, port := "postgresql", [...]string{"SELECT", "INSERT", "UPDATE"}[i%3], int64(5432)
		query := verb + " " + table
		switch {
		case i == statements-1:
			system, verb, port, table = "redis", "GET", 6379, "session"
			query = "GET session:?"
		case verb == "SELECT":
			query = "SELECT id, tenant_id, customer_id, state, currency, total, created_at, updated_at FROM " + table + " WHERE tenant_id = $1 AND customer_id = $2 ORDER BY id DESC LIMIT 50"
		case verb == "INSERT":
			query = "INSERT INTO " + table + " (id, tenant_id, customer_id, state, currency, total, created_at) VALUES ($1, $2, $3, $4, $5, $6, now())"
		case verb == "UPDATE":
			query = "UPDATE " + table + " SET state = $1, updated_at = now() WHERE id = $2 AND tenant_id = $3"
		}
		at := fmt.Sprintf("%s-%s-%d.prod.internal", system, name, i%2)
		fixed := w.text(nil, "db.system.name", system)
		fixed = w.text(fixed, "db.namespace", name)
		fixed = w.text(fixed, "db.operation.name", verb)
		fixed = w.text(fixed, "db.collection.name", table)
		fixed = w.text(fixed, "db.query.text", query)
		fixed = w.text(fixed, "server.address", at)
		fixed = w.number(fixed, "server.port", port)
		fixed = w.text(fixed, "network.peer.address", fmt.Sprintf("10.20.%d.%d", index, 10+i))
		fixed = w.text(fixed, "db.client.connection.pool.name", name+"-"+system)
		s.operation[firstStatement+i] = w.operation(verb+" "+name+"."+table, "", fixed)
	}
	fixed := w.text(nil, "code.function.name", "example.com/shop/"+name+".(*Service).Assemble")
	fixed = w.text(fixed, "code.file.path", "/src/shop/"+name+"/service.go")
	fixed = w.number(fixed, "code.line.number", 80+int64(r.IntN(400)))
	fixed = w.text(fixed, "app.currency", [...]string{"EUR", "USD", "CNY"}[index%3])
	s.operation[ownWork] = w.operation(name+" assemble", "", fixed)
	return s
}

func (w *world) operation(name, path string, fixed []byte) operation {
	return operation{name: name, path: path, fixed: fixed, nameAttr: w.text(nil, "name", name)}
}

func (w *world) instance(r *rand.Rand, index int, name string, i int) instance {
	address := fmt.Sprintf("10.%d.%d.%d", i%3, r.IntN(250), 1+r.IntN(250))
	// Attributes of a Resource have field number 1.
	plain := &world{attr: 0x0a}
	res := plain.text(nil, "service.name", name)
	res = plain.text(res, "service.version", fmt.Sprintf("1.%d.%d", 10+index, i%2))
	res = plain.text(res, "service.instance.id", fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Int64N(1<<48)))
	res = plain.text(res, "service.namespace", "shop")
	res = plain.text(res, "deployment.environment.name", "production")
	res = plain.text(res, "k8s.namespace.name", "shop-prod")
	res = plain.text(res, "k8s.pod.name", fmt.Sprintf("%s-%08x-%05x", name, r.Uint32(), r.IntN(1<<20)))
	res = plain.text(res, "k8s.node.name", fmt.Sprintf("node-%c-%02d", 'a'+rune(i%3), r.IntN(40)))
	res = plain.text(res, "container.id", fmt.Sprintf("%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()))
	res = plain.text(res, "process.executable.name", name)
	res = plain.number(res, "process.pid", 1+r.Int64N(30_000))
	res = plain.text(res, "telemetry.sdk.name", "opentelemetry")
	res = plain.text(res, "telemetry.sdk.language", "go")
	res = plain.text(res, "telemetry.sdk.version", "1.47.0")
	return instance{
		address:  address,
		resource: res,
		peer:     w.text(nil, "network.peer.address", address),
		client:   w.text(nil, "client.address", address),
	}
}
