//go:build linux && (amd64 || arm64)

package attach

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// shop builds the example's services, which know nothing of tracing, and what
// stands in for its cache and payment provider, and runs them. It returns the address of
// the gateway and the services' processes by name.
func shop(t *testing.T, flags ...string) (gateway string, pids map[string]int) {
	t.Helper()
	dir := t.TempDir()
	plain, stands := filepath.Join(dir, "shop"), filepath.Join(dir, "stand-ins")
	for exe, src := range map[string]string{plain: "../../../examples/woven/shop", stands: "../../../examples/shop"} {
		cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, flags...), ".")...)
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", src, err, out)
		}
	}
	var args []string
	addr := map[string]string{}
	for _, name := range []string{"gateway", "order", "inventory", "payment", "cache"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr[name] = l.Addr().String()
		_ = l.Close()
		args = append(args, "-"+name, addr[name])
	}
	args = append(args, "-database", filepath.Join(dir, "shop.db"), "-sales", "100", "-stocktake", "0")
	pids = map[string]int{}
	for _, name := range []string{"cache", "payment", "inventory", "order", "gateway"} {
		exe, more := plain, []string(nil)
		if name == "cache" || name == "payment" {
			exe, more = stands, []string{"-cache-metrics", "127.0.0.1:0"}
		}
		cmd := exec.Command(exe, slices.Concat([]string{name}, args, more)...)
		cmd.Env = append(os.Environ(), "OTEL_SERVICE_NAME="+name, "OTEL_SDK_DISABLED=true")
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("%s said:\n%s", name, said.String())
			}
		})
		pids[name] = cmd.Process.Pid
		for end := time.Now().Add(patience); ; {
			c, err := net.Dial("tcp", addr[name])
			if err == nil {
				_ = c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s does not listen: %v", name, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return addr["gateway"], pids
}

// An order goes through three services by HTTP and gRPC, to a database and to Redis. It is
// one trace, although nobody passes one on.
func TestShop(t *testing.T) {
	for name, flags := range map[string][]string{"plain": {}, "stripped": {"-ldflags=-s -w"}, "pie": {"-buildmode=pie", "-ldflags=-s -w"}} {
		if testing.Short() && name != "stripped" {
			continue
		}
		t.Run(name, func(t *testing.T) { testShop(t, flags) })
	}
}

func shopTargets(pids map[string]int) []Target {
	return []Target{{PID: pids["gateway"]}, {PID: pids["order"]}, {PID: pids["inventory"]}}
}

func testShop(t *testing.T, flags []string) {
	gateway, pids := shop(t, flags...)
	c := attachTo(t, Options{Targets: shopTargets(pids)})
	for _, p := range c.processes() {
		t.Logf("%s: %v", p.Service, p.Took)
		if p.Err != nil {
			t.Fatal(p.Err)
		}
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 || len(l.Without) > 0 {
				t.Errorf("%s: %s %s: missing %q, without %q", p.Service, l.Name, l.Version, l.Missing, l.Without)
			}
		}
	}
	resp, err := client.Post("http://"+gateway+"/api/orders", "application/json", strings.NewReader(`{"sku":"tea-longjing","quantity":2,"city":"上海","card":"card-visa"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	root := c.wait(t, "the order", at(HTTPServer, "/api/orders"))
	if root.Status != resp.StatusCode || root.Parent != [8]byte{} || root.Route != "/api/orders" { // Gin's
		t.Errorf("root %+v", root)
	}
	place := c.wait(t, "the call", at(GRPCClient, "/shop.order.v1.Orders/Place"))
	served := c.wait(t, "the called", at(GRPCServer, "/shop.order.v1.Orders/Place"))
	if place.Parent != root.ID || served.Parent != place.ID || served.Trace != root.Trace || place.Status != 0 || served.Status != 0 {
		t.Errorf("client %+v\nserver %+v", place, served)
	}
	reserve := c.wait(t, "the reservation's server", func(s Span) bool { return s.Kind == HTTPServer && s.Text == "/reservations" })
	if reserve.Trace != root.Trace || reserve.Route != "POST /reservations" {
		t.Errorf("reservation %+v", reserve)
	}
	c.wait(t, "the reservation's SQL", func(s Span) bool { return s.Kind == SQL && s.Parent == reserve.ID && s.Method == "UPDATE" })
	c.wait(t, "Redis", func(s Span) bool { return s.Kind == Redis && s.Trace == root.Trace && s.Host != "" && s.Error == "" })
	get(t, "http://"+gateway+"/api/orders/ord-0")
	lost := c.wait(t, "an order that is not there", at(GRPCClient, "/shop.order.v1.Orders/Get"))
	if lost.Status != 5 {
		t.Errorf("not found: %+v", lost)
	}
	var all []string
	for _, s := range c.where(func(s Span) bool { return s.Trace == root.Trace }) {
		all = append(all, fmt.Sprintf("%x < %x %s %s %s %s %s %d %q %q", s.ID, s.Parent, s.Process.Service, s.Kind, s.Method, s.Text, s.Host, s.Status, s.Error, s.System))
	}
	t.Logf("%d spans:\n%s", len(all), strings.Join(all, "\n"))
	if st := c.f.Stats(); st.Dropped != 0 {
		t.Errorf("dropped: %v", c.f.object.Losses())
	}
}

// The same order with a traceparent in all that the services ask each other: no parent needs a
// connection that both sides were seen on.
func TestInjectShop(t *testing.T) {
	gateway, pids := shop(t, "-ldflags=-s -w")
	c := injectBy(t, Options{Targets: shopTargets(pids), InjectExcept: []string{"*.partner.com"}})
	order := func() *http.Response {
		resp, err := client.Post("http://"+gateway+"/api/orders", "application/json", strings.NewReader(`{"sku":"tea-longjing","quantity":2,"city":"上海","card":"card-visa"}`))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp
	}
	// The first call on a new HTTP/2 connection has no room for the header.
	order()
	first := c.wait(t, "the first order", at(HTTPServer, "/api/orders"))
	resp := order()
	root := c.wait(t, "the order", func(s Span) bool { return at(HTTPServer, "/api/orders")(s) && s.ID != first.ID })
	if root.Status != resp.StatusCode || root.Parent != [8]byte{} {
		t.Errorf("root %+v", root)
	}
	var servers []Span
	kerneltest.Until(t, "all that is served for it", func() bool {
		servers = c.where(func(s Span) bool {
			return s.Trace == root.Trace && s.ID != root.ID && (s.Kind == HTTPServer || s.Kind == GRPCServer)
		})
		return len(servers) >= 2
	})
	for _, s := range servers {
		if s.Flags&Remote == 0 || s.Flags&Correlated != 0 {
			t.Errorf("%s has no parent by header: %+v", s.Text, s)
		}
		parent := c.wait(t, "the parent of "+s.Text, func(p Span) bool { return p.ID == s.Parent })
		if parent.Trace != root.Trace || parent.Process.PID == s.Process.PID || (parent.Kind == GRPCClient) != (s.Kind == GRPCServer) {
			t.Errorf("%s: parent %+v", s.Text, parent)
		}
	}
	c.wait(t, "the reservation's SQL", func(s Span) bool { return s.Kind == SQL && s.Trace == root.Trace && s.Method == "UPDATE" })
	if in := c.f.Injected(); in.Written < uint64(len(servers)) || in.Unexpected+in.Unwritable+in.Spared > 0 {
		t.Errorf("%+v", in)
	} else {
		t.Log(in)
	}
	if err := c.f.Close(); err != nil {
		t.Fatal(err)
	}
	if after := order(); after.StatusCode != resp.StatusCode {
		t.Errorf("detached: %s, before %s", after.Status, resp.Status)
	}
}
