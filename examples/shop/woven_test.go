package main

import (
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plainShop is the same shop without a line of the SDK.
const plainShop = "../woven/shop"

// requests are what customers do to each of the shops, one after the other.
var requests = []struct{ name, method, path, body string }{
	{"order", "POST", "/api/orders", `{"sku":"tea-longjing","quantity":2,"city":"上海","card":"card-visa"}`},
	{"product", "GET", "/api/products/tea-longjing", ""},
	{"product from the cache", "GET", "/api/products/tea-longjing", ""},
	{"search", "GET", "/api/products?q=tea", ""},
	{"slow search", "GET", "/api/products?q=tea&sort=sales", ""},
	{"price", "GET", "/api/products/tea-puer/price?coupon=SALE20", ""},
	{"panic", "GET", "/api/products/tea-puer/price?coupon=VIP", ""},
	{"no such product", "GET", "/api/products/tea-unknown", ""},
	{"no such order", "GET", "/api/orders/ord-0", ""},
	{"no such route", "GET", "/api/nothing", ""},
	{"bad request", "POST", "/api/orders", `{"sku":"tea-puer"}`},
	{"out of stock", "POST", "/api/orders", `{"sku":"cup-qinghua","quantity":1,"card":"card-visa"}`},
	{"card declined", "POST", "/api/orders", `{"sku":"tea-puer","quantity":1,"card":"card-declined"}`},
	{"payment timeout", "POST", "/api/orders", `{"sku":"tea-puer","quantity":1,"card":"card-slow"}`},
}

// The plain shop does what the shop does. Woven, it does so too, and sends to a
// real Guanlan what the shop with the SDK by hand sends, but for what is by hand
// alone.
func TestWovenShopIsSeenAsTheSDKsIs(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds four programs")
	}
	dir := t.TempDir()
	guanlan, plain, woven := filepath.Join(dir, "guanlan"), filepath.Join(dir, "plain"), filepath.Join(dir, "woven")
	run(t, "../..", "go", "build", "-tags=remove_all_sd", "-o", guanlan, "./cmd/guanlan")
	run(t, plainShop, "go", "build", "-o", plain, ".")
	before := hashOf(t, plainShop)
	run(t, plainShop, guanlan, "build", "--strict", "-o", woven, ".")
	if hashOf(t, plainShop) != before {
		t.Error("guanlan build has changed the folder")
	}

	g := startGuanlan(t, guanlan)
	var did []map[string]any
	var shops []*shop
	for i, s := range []*shop{{environment: "sdk"}, {environment: "plain", plain: plain}, {environment: "woven", plain: woven}} {
		// At the end of the subtest the services are stopped: what they have not
		// sent by then is lost.
		t.Run(s.environment, func(t *testing.T) {
			s.receiver = newReceiver(t)
			s.url = g.otlp
			s.open(t, "-payment-timeout=800ms")
			did = append(did, s.serve(t, i+1))
			shops = append(shops, s)
		})
	}
	if len(did) < 3 {
		t.Fatal("a shop does not run")
	}
	for i, s := range shops[1:] {
		if diff := cmp.Diff(did[0], did[i+1]); diff != "" {
			t.Errorf("%s does not do what the shop with the SDK does (-sdk +%s):\n%s", s.environment, s.environment, diff)
		}
	}
	if len(g.roots(t, "resource.deployment.environment.name = plain")) > 0 {
		t.Error("the plain shop sends traces")
	}

	t.Run("traces", func(t *testing.T) {
		eventually(t, func() string {
			var all strings.Builder
			for i, r := range requests {
				want, got := byWeaving(g.trace(t, traceID(1, i))), withoutChance(g.trace(t, traceID(3, i)))
				if diff := cmp.Diff(want, got); diff != "" || want == "" {
					fmt.Fprintf(&all, "%s (-sdk +woven):\n%s\n", r.name, diff)
				}
			}
			return all.String()
		})
	})
	t.Run("packing an order", func(t *testing.T) {
		// The packers live as long as the service and take their jobs from a
		// channel that every request sends on: no request can be said to be the one
		// that a packer works for. So what a packer does begins traces, where the
		// SDK by hand, whose messages carry the context, goes on with the order's.
		want := []string{
			"order client: POST\n  inventory server: POST /reservations/{id}/ship\n    inventory client: UPDATE reservation\n",
			"order client: SET\n",
		}
		eventually(t, func() string {
			var got []string
			for _, id := range g.roots(t, "resource.deployment.environment.name = woven and service.name = order") {
				got = append(got, withoutChance(g.trace(t, id)))
			}
			slices.Sort(got)
			return cmp.Diff(want, got)
		})
		packed := g.logs(t, `resource.deployment.environment.name = woven and service.name = order "order packed"`)
		if len(packed) != 1 || packed[0].TraceID != "" {
			t.Errorf("got %+v, want one record without a trace id", packed)
		}
	})
	t.Run("lines", func(t *testing.T) {
		s, id := shops[2], traceID(3, 0)
		s.mu.Lock()
		defer s.mu.Unlock()
		for service, message := range map[string]string{"gateway": "order accepted", "order": "order placed", "inventory": "goods reserved"} {
			if !slices.ContainsFunc(s.lines[service], func(line string) bool {
				return strings.Contains(line, message) && strings.Contains(line, `"trace_id":"`+id+`"`)
			}) {
				t.Errorf("%s: no line %q with trace id in\n%s", service, message, strings.Join(s.lines[service], "\n"))
			}
		}
	})
}

// traceID is that of a request: one of 32 digits that is brought along as the
// request's id is the trace's, too.
func traceID(shop, request int) string { return fmt.Sprintf("%016x%016x", 0xa0+shop, request+1) }

// serve sends all requests and returns all that the shop did, as far as it can
// be seen without telemetry: answers, access log, database.
func (s *shop) serve(t *testing.T, number int) map[string]any {
	did := map[string]any{}
	for i, r := range requests {
		req, err := http.NewRequestWithContext(t.Context(), r.method, s.base+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Request-ID", traceID(number, i))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		did[r.name] = fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), orderID.ReplaceAll(text, []byte("ord-X")))
		if r.name == "order" {
			// Until it is packed, so that the product's stock is the same for all.
			var order struct{ ID string }
			if err := json.Unmarshal(text, &order); err != nil {
				t.Fatalf("got %q: %v", text, err)
			}
			s.wait(t, func() string {
				if slices.ContainsFunc(s.lines["order"], func(line string) bool {
					return strings.Contains(line, "order packed") && strings.Contains(line, order.ID)
				}) {
					return ""
				}
				return "order packed"
			})
		}
	}

	log, err := os.ReadFile(s.accessLog)
	if err != nil {
		t.Fatal(err)
	}
	// Behind the time: client, request, status and size; then how long it took.
	did["access log"] = regexp.MustCompile(`(?m)^\S+ (\S+ ".*" \d+ \d+).*$`).ReplaceAllString(string(log), "$1")
	db, err := sql.Open("sqlite", "file:"+s.database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, query := range []string{"SELECT sku || ' ' || quantity FROM stock ORDER BY sku", "SELECT sku || ' ' || quantity || ' ' || state FROM reservation ORDER BY rowid"} {
		var all []string
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var row string
			if err := rows.Scan(&row); err != nil {
				t.Fatal(err)
			}
			all = append(all, row)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		did[query] = all
	}
	return did
}

var orderID = regexp.MustCompile(`ord-[A-Z2-7]{10}`)

// withoutChance drops from a trace what is chance: whether a new connection is
// needed. (Those to Redis are in woven traces only: go-redis opens them with a
// context of its own.)
func withoutChance(tree string) string { return without(tree, regexp.MustCompile(`client: CONNECT$`)) }

// byWeaving is a trace of the SDK by hand as weaving has it. What differs is what
// somebody has written by hand, and what is below it.
func byWeaving(tree string) string {
	return without(withoutChance(tree), regexp.MustCompile(`producer: send fulfilment$`))
}

// without drops lines of a trace, and what is below them.
func without(tree string, lines *regexp.Regexp) string {
	var kept strings.Builder
	below := -1 // of what is being dropped
	for l := range strings.Lines(tree) {
		depth := len(l) - len(strings.TrimLeft(l, " "))
		if below >= 0 && depth > below {
			continue
		}
		below = -1
		if lines.MatchString(strings.TrimSpace(l)) {
			below = depth
			continue
		}
		kept.WriteString(l)
	}
	return kept.String()
}

// run runs a command in a folder.
func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// hashOf is of all there is in a folder: names, modes and contents.
func hashOf(t *testing.T, dir string) string {
	t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, name, info.Mode())
		if d.IsDir() {
			return nil
		}
		text, err := os.ReadFile(name)
		fmt.Fprintln(sum, len(text))
		sum.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}
