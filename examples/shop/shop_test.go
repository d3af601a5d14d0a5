package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// asShop makes the test binary behave as the shop command, so that the tests
// run the services as processes without building them first.
const asShop = "SHOP_TEST_AS_SHOP"

func TestMain(m *testing.M) {
	if os.Getenv(asShop) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// shop is the services, running, and what they send.
type shop struct {
	*receiver
	plain       string // program of the services without the SDK; empty: our own
	environment string // deployment.environment.name
	base        string // of the gateway
	accessLog   string
	database    string
}

// openShop starts every service but load on ports of its own.
func openShop(t *testing.T, flags ...string) *shop {
	t.Helper()
	s := &shop{receiver: newReceiver(t), environment: "test"}
	s.open(t, flags...)
	return s
}

func (s *shop) open(t *testing.T, flags ...string) {
	t.Helper()
	dir := t.TempDir()
	s.accessLog, s.database = filepath.Join(dir, "access.log"), filepath.Join(dir, "shop.db")
	args := append([]string{"-stocktake=0", "-sales=1000", "-payment-timeout=1m", "-database=" + s.database, "-access-log=" + s.accessLog}, flags...)
	for _, service := range []string{"cache", "payment", "inventory", "order", "gateway"} {
		// Each listens on a port of the system's choice and is told of those
		// before it.
		own := append(slices.Clone(args), "-"+service+"=127.0.0.1:0")
		if service == "cache" {
			own = append(own, "-cache-metrics=127.0.0.1:0")
		}
		s.start(t, service, own)
		addr := s.listening(t, service, 1)
		args = append(args, "-"+service+"="+addr)
		s.base = "http://" + addr
	}
}

// start runs a service until the test ends.
func (s *shop) start(t *testing.T, service string, args []string) {
	t.Helper()
	program, name := os.Args[0], ""
	if s.plain != "" && slices.Contains([]string{"inventory", "order", "gateway"}, service) {
		program, name = s.plain, service // it says nothing of itself
	}
	cmd := exec.Command(program, append([]string{service}, args...)...)
	cmd.Env = append(os.Environ(), asShop+"=1",
		"OTEL_EXPORTER_OTLP_ENDPOINT="+s.url, "OTEL_TRACES_SAMPLER=always_on",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name="+s.environment, "OTEL_SERVICE_NAME="+name,
		"OTEL_METRIC_EXPORT_INTERVAL=500", "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_BLRP_SCHEDULE_DELAY=100")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.add(func() { s.lines[service] = append(s.lines[service], in.Text()) })
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(2*drainTimeout, func() { cmd.Process.Kill() })
		<-ended
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s ended with %v", service, err)
		}
		kill.Stop()
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("%s wrote:\n%s", service, strings.Join(s.lines[service], "\n"))
		}
	})
}

// listening waits until a service listens on n addresses and returns the nth.
func (s *shop) listening(t *testing.T, service string, n int) string {
	t.Helper()
	var addrs []string
	s.wait(t, func() string {
		addrs = nil
		for _, line := range s.lines[service] {
			var l struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "listening" {
				addrs = append(addrs, l.Address)
			}
		}
		if len(addrs) >= n {
			return ""
		}
		return fmt.Sprintf("%s to listen", service)
	})
	return addrs[n-1]
}

// do sends a request as a customer of a tenant would.
func (s *shop) do(t *testing.T, method, path, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Tenant", "云杉")
	req.Header.Set("X-Channel", "app")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// traceOf waits for the trace whose root has this name and until every span
// named in parts has arrived.
func (s *shop) traceOf(t *testing.T, root string, parts ...string) (id string, spans map[string]span) {
	t.Helper()
	s.wait(t, func() string {
		for _, sp := range s.spans {
			if sp.Name == root && len(sp.ParentSpanId) == 0 {
				id = hex.EncodeToString(sp.TraceId)
				spans = s.trace(id)
				got := tree(spans)
				for _, part := range parts {
					if !strings.Contains(got, part) {
						return part + " in\n" + got
					}
				}
				return ""
			}
		}
		return "root span " + root
	})
	return id, spans
}

// An order touches HTTP, gRPC, SQL, Redis, a channel and a pool of workers.
const orderTree = `gateway server: POST /api/orders
  gateway client: shop.order.v1.Orders/Place
    order server: shop.order.v1.Orders/Place
      order client: POST
        inventory server: POST /reservations
          inventory client: BEGIN
          inventory client: UPDATE stock
          inventory client: SELECT product
          inventory client: INSERT reservation
          inventory client: COMMIT
          inventory client: DEL
      order client: POST
      order client: SET
      order producer: send fulfilment
        order internal: pack order
          order client: POST
            inventory server: POST /reservations/{id}/ship
              inventory client: UPDATE reservation
          order client: SET
`

func TestOrderIsOneTraceAcrossAllServices(t *testing.T) {
	s := openShop(t)
	status, answer := s.do(t, "POST", "/api/orders", `{"sku":"tea-longjing","quantity":2,"city":"上海","card":"card-visa"}`)
	if status != http.StatusCreated {
		t.Fatalf("got %d %s", status, answer)
	}
	id, spans := s.traceOf(t, "POST /api/orders", strings.Split(strings.TrimSpace(orderTree), "\n")...)

	t.Run("tree", func(t *testing.T) {
		// Whether a new connection to the database is needed is chance.
		got := regexp.MustCompile(`(?m)^ *inventory client: CONNECT\n`).ReplaceAllString(tree(spans), "")
		if diff := cmp.Diff(orderTree, got); diff != "" {
			t.Errorf("trace (-want +got):\n%s", diff)
		}
	})
	t.Run("spans", func(t *testing.T) {
		for _, sp := range spans {
			attrs := attributes(sp.Attributes)
			if attrs["tenant"] != "云杉" || attrs["channel"] != "app" {
				t.Errorf("%s %s: got tenant %q, channel %q", sp.service, sp.Name, attrs["tenant"], attrs["channel"])
			}
			if sp.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
				t.Errorf("%s %s: failed: %s", sp.service, sp.Name, sp.Status.Message)
			}
			if want := "UPDATE stock SET quantity = quantity - ? WHERE sku = ? AND quantity >= ?"; sp.Name == "UPDATE stock" && attrs["db.query.text"] != want {
				t.Errorf("got statement %q, want %q", attrs["db.query.text"], want)
			}
			if sp.Name == "shop.order.v1.Orders/Place" && sp.service == "order" && attrs["shop.city"] != "上海" {
				t.Errorf("got city %q", attrs["shop.city"])
			}
		}
	})
	t.Run("resources", func(t *testing.T) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, service := range []string{"gateway", "order", "inventory"} {
			res := s.resources[service]
			if res["service.version"] != version || res["service.instance.id"] == "" || res["deployment.environment.name"] != "test" {
				t.Errorf("%s: got resource %v", service, res)
			}
		}
	})
	t.Run("dispatch links to it", func(t *testing.T) {
		_, dispatch := s.traceOf(t, "dispatch parcels")
		for _, sp := range dispatch {
			if len(sp.Links) != 1 || hex.EncodeToString(sp.Links[0].TraceId) != id || spans[hex.EncodeToString(sp.Links[0].SpanId)].Name != "pack order" {
				t.Errorf("got links %v", sp.Links)
			}
		}
	})
	t.Run("logs", func(t *testing.T) {
		messages := map[string]string{"gateway": "order accepted", "order": "order packed", "inventory": "goods reserved"}
		s.wait(t, func() string {
			missing := maps.Clone(messages)
			for _, l := range s.logs {
				if _, ok := spans[hex.EncodeToString(l.SpanId)]; ok && hex.EncodeToString(l.TraceId) == id &&
					attributes(l.Attributes)["tenant"] == "云杉" && l.Body.GetStringValue() == missing[l.service] {
					delete(missing, l.service)
				}
			}
			if len(missing) == 0 {
				return ""
			}
			return fmt.Sprintf("log records of the trace: %v", missing)
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		for service, message := range messages {
			if !slices.ContainsFunc(s.lines[service], func(line string) bool {
				return strings.Contains(line, message) && strings.Contains(line, id)
			}) {
				t.Errorf("%s: no line %q with trace id", service, message)
			}
		}
		text, err := os.ReadFile(s.accessLog)
		if m := accessLine(t).FindSubmatch(text); err != nil || m == nil || string(m[len(m)-1]) != id {
			t.Errorf("got access log %q, %v, want one line with trace id %s", text, err, id)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		// Metrics that must come, and those that must lead back to the trace.
		type want struct{ service, metric string }
		exemplar := map[want]bool{
			{"gateway", "http.server.request.duration"}:   true,
			{"gateway", "rpc.client.call.duration"}:       true,
			{"gateway", "go.goroutine.count"}:             false,
			{"order", "rpc.server.call.duration"}:         true,
			{"order", "http.client.request.duration"}:     true,
			{"order", "shop.orders"}:                      true,
			{"order", "shop.order.amount"}:                true,
			{"order", "guanlan.task.wait"}:                true,
			{"order", "shop.fulfilment.queue.length"}:     false,
			{"inventory", "http.server.request.duration"}: true,
			{"inventory", "db.client.operation.duration"}: true,
			{"inventory", "db.client.connection.count"}:   false,
			{"order", "otel.sdk.exporter.span.exported"}:  false,
			{"inventory", "go.memory.used"}:               false,
		}
		s.wait(t, func() string {
			missing := maps.Clone(exemplar)
			for _, p := range s.points {
				w := want{p.service, p.metric}
				if !exemplar[w] || slices.Contains(p.exemplars, id) {
					delete(missing, w)
				}
			}
			if len(missing) == 0 {
				return ""
			}
			return fmt.Sprintf("metrics: %v", missing)
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.points {
			if p.metric == "shop.orders" {
				if diff := cmp.Diff(map[string]string{"tenant": "云杉", "channel": "app", "outcome": "OK"}, p.attrs); diff != "" {
					t.Errorf("attributes of shop.orders (-want +got):\n%s", diff)
				}
			}
		}
	})
}

// accessLine returns the pattern with which the demo has Guanlan read the
// access log.
func accessLine(t *testing.T) *regexp.Regexp {
	t.Helper()
	config, err := os.ReadFile("cmd/demo/demo.yaml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^ +regex: '(.*)'$`).FindSubmatch(config)
	if m == nil {
		t.Fatal("no regex in demo.yaml")
	}
	return regexp.MustCompile("(?m)" + string(m[1]))
}

func TestFailures(t *testing.T) {
	s := openShop(t, "-payment-timeout=800ms")
	const failed, unset = tracepb.Status_STATUS_CODE_ERROR, tracepb.Status_STATUS_CODE_UNSET
	for _, c := range []struct {
		name               string
		method, path, body string
		status             int
		answer             string
		root               string
		rootStatus         tracepb.Status_StatusCode
		parts              []string // of the trace
		event              string   // in an exception event's message or stack, on the root
	}{
		{
			name: "out of stock", method: "POST", path: "/api/orders", body: `{"sku":"cup-qinghua","quantity":1,"card":"card-visa"}`,
			status: 409, answer: "售罄", root: "POST /api/orders", rootStatus: unset,
			parts: []string{"inventory client: UPDATE stock", "inventory client: ROLLBACK"},
		},
		{
			name: "payment timeout", method: "POST", path: "/api/orders", body: `{"sku":"tea-puer","quantity":1,"card":"card-slow"}`,
			status: 504, answer: "支付超时", root: "POST /api/orders", rootStatus: failed,
			parts: []string{"inventory server: DELETE /reservations/{id}", "inventory client: DELETE reservation"}, event: "DeadlineExceeded",
		},
		{
			name: "card declined", method: "POST", path: "/api/orders", body: `{"sku":"tea-puer","quantity":1,"card":"card-declined"}`,
			status: 402, answer: "余额不足", root: "POST /api/orders", rootStatus: unset,
		},
		{
			name: "bad request", method: "POST", path: "/api/orders", body: `{"sku":"tea-puer"}`,
			status: 400, answer: "quantity", root: "POST /api/orders", rootStatus: unset,
		},
		{
			name: "panic", method: "GET", path: "/api/products/tea-puer/price?coupon=VIP",
			status: 500, answer: "internal error", root: "GET /api/products/:sku/price", rootStatus: failed,
			parts: []string{"inventory client: SELECT product", "inventory client: SET"}, event: "percentOff",
		},
		{
			name: "no such order", method: "GET", path: "/api/orders/ord-0",
			status: 404, answer: "ord-0", root: "GET /api/orders/:id", rootStatus: unset,
			parts: []string{"order client: GET"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.forget()
			status, answer := s.do(t, c.method, c.path, c.body)
			if status != c.status || !strings.Contains(answer, c.answer) {
				t.Fatalf("got %d %s, want %d … %s", status, answer, c.status, c.answer)
			}
			_, spans := s.traceOf(t, c.root, c.parts...)
			for _, sp := range spans {
				if len(sp.ParentSpanId) > 0 {
					continue
				}
				if sp.Status.GetCode() != c.rootStatus {
					t.Errorf("root span is %v, want %v", sp.Status.GetCode(), c.rootStatus)
				}
				var events []string
				for _, e := range sp.Events {
					events = append(events, fmt.Sprint(e.Name, attributes(e.Attributes)))
				}
				if got := strings.Join(events, "\n"); !strings.Contains(got, c.event) || (c.event == "") != (got == "") {
					t.Errorf("root span has events %q, want %q in one", got, c.event)
				}
			}
		})
	}
}

// Ids that a customer brings are in the answer, and in what every service says.
func TestIDsGoThroughAllServices(t *testing.T) {
	s := openShop(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.base+"/api/orders", strings.NewReader(`{"sku":"tea-puer","quantity":1,"card":"card-visa"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Request-ID", "req-4711")
	req.Header.Set("X-Biz-ID", "spring-sale")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated || resp.Header.Get("X-Request-ID") != "req-4711" || resp.Header.Get("X-Biz-ID") != "spring-sale" {
		t.Errorf("got %s, headers %v", resp.Status, resp.Header)
	}
	s.wait(t, func() string {
		for service, message := range map[string]string{"gateway": "order accepted", "order": "order packed", "inventory": "goods reserved"} {
			if !slices.ContainsFunc(s.lines[service], func(line string) bool {
				return strings.Contains(line, message) && strings.Contains(line, `"request_id":"req-4711"`) && strings.Contains(line, `"biz_id":"spring-sale"`)
			}) {
				return service + ": a line with both ids"
			}
		}
		return ""
	})
}

func TestReadiness(t *testing.T) {
	s := openShop(t)
	status, answer := s.do(t, "GET", "/readyz?verbose", "")
	if status != http.StatusOK || !strings.Contains(answer, "order") {
		t.Errorf("got %d %s", status, answer)
	}
}

func TestStocktakeDelaysOrders(t *testing.T) {
	s := openShop(t, "-stocktake=100ms")
	// The span of a stocktake's statement arrives long before the stocktake
	// lets go of the lock.
	s.wait(t, func() string {
		if slices.ContainsFunc(s.spans, func(sp span) bool { return sp.Name == "UPDATE stock" }) {
			return ""
		}
		return "a stocktake"
	})
	if status, answer := s.do(t, "POST", "/api/orders", `{"sku":"tea-puer","quantity":1,"card":"card-visa"}`); status != 201 {
		t.Fatalf("got %d %s", status, answer)
	}
	_, spans := s.traceOf(t, "POST /api/orders", "UPDATE stock")
	for _, sp := range spans {
		if took := time.Duration(sp.EndTimeUnixNano - sp.StartTimeUnixNano); sp.Name == "UPDATE stock" && took < 100*time.Millisecond {
			t.Errorf("UPDATE took %v, want it to wait for the lock", took)
		}
	}
}

func TestCacheSpeaksPrometheus(t *testing.T) {
	s := openShop(t)
	for range 2 { // a miss and a hit
		if status, answer := s.do(t, "GET", "/api/products/tea-puer", ""); status != 200 || !strings.Contains(answer, "云南普洱") {
			t.Fatalf("got %d %s", status, answer)
		}
	}
	s.base = "http://" + s.listening(t, "cache", 2)
	_, page := s.do(t, "GET", "/metrics", "")
	for _, want := range []string{`cache_commands_total{command="get"} 2`, `cache_commands_total{command="set"} 1`, "cache_keys 1", "go_goroutines"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

func TestLoadSendsEveryKindOfRequest(t *testing.T) {
	s := openShop(t, "-payment-timeout=800ms")
	s.start(t, "load", []string{"-gateway=" + strings.TrimPrefix(s.base, "http://"), "-rate=200", "-burst=0"})
	want := []string{"200 GET /api/products", "200 GET /api/products/:sku", "200 GET /api/products/:sku/price", "500 GET /api/products/:sku/price",
		"404 GET /api/products/:sku", "200 GET /api/orders/:id", "201 POST /api/orders", "409 POST /api/orders", "402 POST /api/orders", "504 POST /api/orders"}
	s.wait(t, func() string {
		seen := map[string]bool{}
		for _, sp := range s.spans {
			if len(sp.ParentSpanId) == 0 {
				seen[attributes(sp.Attributes)["http.response.status_code"]+" "+sp.Name] = true
			}
		}
		return strings.Join(slices.DeleteFunc(slices.Clone(want), func(w string) bool { return seen[w] }), ", ")
	})
}
