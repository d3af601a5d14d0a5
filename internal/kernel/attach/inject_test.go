//go:build linux && (amd64 || arm64)

package attach

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// own is what some requests of testdata's storms have of their own.
const own = "00-11111111111111111111111111111111-2222222222222222-00"

// injectInto attaches and writes, or skips the test where the kernel allows none.
func injectInto(t *testing.T, services ...*service) *spans {
	t.Helper()
	return injectBy(t, Options{}, services...)
}

func injectBy(t *testing.T, o Options, services ...*service) *spans {
	t.Helper()
	o.Inject = true
	for _, s := range services {
		o.Targets = append(o.Targets, Target{PID: s.Process.Pid})
	}
	c := attachTo(t, o)
	if u := (*kernel.Unsupported)(nil); errors.As(c.f.Refused(), &u) {
		t.Skip(u)
	} else if c.f.Refused() != nil {
		t.Fatal(c.f.Refused())
	}
	for _, p := range c.processes() {
		if p.Err != nil {
			t.Fatal(p.Err)
		}
		for _, k := range p.Injects {
			t.Logf("%d: %s: %q", p.PID, k.Name, k.Missing)
			if len(k.Missing) > 0 {
				t.Errorf("%s of %s: missing %q", k.Name, k.Version, k.Missing)
			}
		}
	}
	return c
}

// ask gets lines from a service, which may take long on an emulated machine.
func ask(t *testing.T, url string) []string {
	t.Helper()
	patient := *client
	patient.Timeout = 25 * time.Minute
	resp, err := patient.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// storm has a service send n requests and returns what traceparent each came with.
func storm(t *testing.T, from, seen, to string, first, n int, hosts ...string) map[int]string {
	t.Helper()
	began := time.Now()
	if said := ask(t, fmt.Sprintf("http://%s/storm?first=%d&n=%d&to=%s&hosts=%s", from, first, n, to, url.QueryEscape(strings.Join(hosts, ",")))); said[0] != "failed: 0" {
		t.Fatalf("requests were harmed:\n%s", strings.Join(said, "\n"))
	}
	t.Logf("%d requests in %v", n, time.Since(began).Round(time.Millisecond))
	out := map[int]string{}
	for _, line := range ask(t, "http://"+seen+"/seen") {
		id, tp, _ := strings.Cut(line, " ")
		i, err := strconv.Atoi(id)
		if err != nil {
			t.Fatalf("seen %q", line)
		}
		out[i] = tp
	}
	if len(out) != n {
		t.Fatalf("%d of %d requests came", len(out), n)
	}
	return out
}

// compare holds what the server saw against the client's spans and our counts.
func compare(t *testing.T, c *spans, seen map[int]string, ownOf func(n int) bool, kind Kind, n int) (with int) {
	t.Helper()
	return compareSince(t, c, Injected{}, seen, ownOf, kind, n)
}

// compareSince knows of other requests before.
func compareSince(t *testing.T, c *spans, before Injected, seen map[int]string, ownOf func(n int) bool, kind Kind, n int) (with int) {
	t.Helper()
	kerneltest.Until(t, "all spans", func() bool {
		return len(c.where(func(s Span) bool { return s.Kind == kind && s.Parent == [8]byte{} })) >= n
	})
	sent := map[string]bool{}
	for _, s := range c.where(func(s Span) bool { return s.Kind == kind }) {
		sent[fmt.Sprintf("00-%x-%x-01", s.Trace, s.ID)] = true
	}
	var hasOwn, without uint64
	for i, tp := range seen {
		switch {
		case ownOf(i):
			hasOwn++
			if tp != own {
				t.Errorf("request %d has %q, not its own", i, tp)
			}
		case tp == "":
			without++
		case !sent[tp]:
			t.Errorf("request %d has %q, of which there is no span", i, tp)
		default:
			with++
			delete(sent, tp) // no two have the same
		}
	}
	in := c.f.Injected().since(before)
	t.Logf("%d with ours, %d with their own, %d without: %+v", with, hasOwn, without, in)
	// Of requests with many headers nobody looks whether they have their own.
	if in.Written != uint64(with) || in.Own > hasOwn || in.Own < hasOwn/2 || in.Own+in.Refused() != hasOwn+without || in.Unexpected+in.Unwritable > 0 {
		t.Errorf("counted %+v", in)
	}
	return with
}

func (i Injected) since(b Injected) Injected {
	return Injected{i.Written - b.Written, i.Own - b.Own, i.NoRoom - b.NoRoom, i.ManyHeaders - b.ManyHeaders, i.Unexpected - b.Unexpected,
		i.Split - b.Split, i.Unwritable - b.Unwritable, i.Spared - b.Spared}
}

func ownHTTP(n int) bool { return n%20 == 7 || n%20 == 8 }

// stormSize is less where a machine is emulated (-short), which takes a minute for a thousand.
func stormSize() int {
	if n, err := strconv.Atoi(os.Getenv("GUANLAN_STORM")); err == nil {
		return n
	}
	if testing.Short() {
		return 800
	}
	return 10_000
}

func TestInjectHTTP1(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) { testInjectHTTP1(t, buildProgram(t, "storm", flags...)) })
	}
}

// Programs built elsewhere, with other versions of Go, in a folder that the variable names.
func TestInjectBuilds(t *testing.T) {
	dir := os.Getenv("GUANLAN_STORMS")
	if dir == "" {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "programs to inject into", Next: "set GUANLAN_STORMS to a folder with some builds of testdata/storm"})
	}
	exes, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, exe := range exes {
		t.Run(filepath.Base(exe), func(t *testing.T) {
			testInjectHTTP1(t, exe)
			testInjectHTTP2(t, exe)
		})
	}
}

func testInjectHTTP1(t *testing.T, exe string) {
	a, b := run(t, exe), run(t, exe)
	n := stormSize()
	storm(t, a.addr, b.addr, "http://"+b.addr, 0, 50) // connections that are older than the probes
	c := injectInto(t, a, b)
	seen := storm(t, a.addr, b.addr, "http://"+b.addr, 0, n)
	with := compare(t, c, seen, ownHTTP, HTTPClient, n)
	in := c.f.Injected()
	if n >= 400 && (in.NoRoom == 0 || in.ManyHeaders == 0) || in.Split > 0 {
		t.Errorf("nothing was refused of what should be: %+v", in)
	}
	if with < n*8/10 {
		t.Errorf("only %d of %d requests have a header", with, n)
	}
	// The server takes the parent from the header.
	remote := c.where(func(s Span) bool { return s.Kind == HTTPServer && s.Flags&Remote != 0 })
	own := 0
	for i := range seen {
		if ownHTTP(i) {
			own++
		}
	}
	if want := with + own; len(remote) != want {
		t.Errorf("%d server spans have a parent by header, want %d", len(remote), want)
	}
	if err := c.f.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.f.Injected(); got != in {
		t.Errorf("after the end %+v, before %+v", got, in)
	}
	for i, tp := range storm(t, a.addr, b.addr, "http://"+b.addr, 0, 200) {
		if tp != "" && !ownHTTP(i) {
			t.Errorf("detached, and request %d has %q", i, tp)
		}
	}
}

func TestInjectHTTP2(t *testing.T) {
	testInjectHTTP2(t, buildProgram(t, "storm", "-ldflags=-s -w"))
}

func testInjectHTTP2(t *testing.T, exe string) {
	a, b := run(t, exe), run(t, exe)
	storm(t, a.addr, b.addr, "https://"+b.tls, 0, 50)
	c := injectInto(t, a)
	n := stormSize()
	with := compare(t, c, storm(t, a.addr, b.addr, "https://"+b.tls, 0, n), ownHTTP, HTTPClient, n)
	if with < n*6/10 {
		t.Errorf("only %d of %d requests have a header", with, n)
	}
	if err := c.f.Close(); err != nil {
		t.Fatal(err)
	}
	storm(t, a.addr, b.addr, "https://"+b.tls, 0, 100)
}

// golang.org/x/net's own Transport, over TLS and without.
func TestInjectXNet(t *testing.T) {
	for _, flags := range [][]string{{"-tags=xnet"}, {"-tags=xnet", "-ldflags=-s -w"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			exe := buildProgram(t, "storm", flags...)
			a, b := run(t, exe), run(t, exe)
			c := injectInto(t, a, b)
			n, sum := stormSize()/2, 0
			for i, to := range []string{"https://" + b.tls, "http://" + b.addr} {
				before := c.f.Injected()
				seen := storm(t, a.addr, b.addr, to, i*n, n)
				with := compareSince(t, c, before, seen, ownHTTP, HTTPClient, (i+1)*n)
				if with < n*6/10 {
					t.Errorf("%s: only %d of %d requests have a header", to, with, n)
				}
				for i := range seen {
					if ownHTTP(i) {
						with++
					}
				}
				sum += with
			}
			if remote := c.where(func(s Span) bool { return s.Kind == HTTPServer && s.Flags&(Remote|HTTP2) == Remote|HTTP2 }); len(remote) != sum {
				t.Errorf("%d server spans have a parent by header, want %d", len(remote), sum)
			}
			if err := c.f.Close(); err != nil {
				t.Fatal(err)
			}
			storm(t, a.addr, b.addr, "http://"+b.addr, 0, 100)
		})
	}
}

// Requests to some hosts get a header, and to others not, whatever they are sent with.
func TestInjectHosts(t *testing.T) {
	const long = "a-name-with-many-letters.in-a-zone-with-many-letters-too.and-more-of-them.and-still-more-of-them.internal"
	hosts := map[string]bool{ // whether they get one
		"order.internal": true, "Order.INTERNAL:8080": true, "a.b.internal.": true, "b.internal.:80": true, long + ":65535": true,
		"internal": false, "notinternal": false, "order.internal.example.com": false,
		"legacy.internal": false, "legacy.internal:80": false, "x.legacy.internal": true,
		"api.partner.com": false, "10.1.2.3": true, "10.1.2.3:8080": true, "10.0.0.7": false, "110.1.2.3": false, "172.31.255.1": true, "172.32.0.1": false,
		"[::1]:80": true, "[::2]": false, "payment": true, "payments": false, "payment:8080": true,
	}
	o := Options{
		InjectHosts:  []string{"*.internal", "10.0.0.0/8", "172.16.0.0/12", "::1", "Payment"},
		InjectExcept: []string{"legacy.internal", "10.0.0.7"},
	}
	exe := buildProgram(t, "storm", "-tags=xnet")
	std := buildProgram(t, "storm")
	names := slices.Sorted(maps.Keys(hosts))
	for name, exe := range map[string]string{"xnet": exe, "HTTP1": std, "HTTP2": std} {
		t.Run(name, func(t *testing.T) {
			a, b := run(t, exe), run(t, exe)
			to := "https://" + b.tls
			if name == "HTTP1" {
				to = "http://" + b.addr
			}
			n := 16 * len(names)
			c := injectBy(t, o, a)
			storm(t, a.addr, b.addr, to, 0, 2*len(names), names...) // the first of a connection of HTTP/2 has no room
			before := c.f.Injected()
			got := map[string]int{}
			spared := uint64(0)
			for i, tp := range storm(t, a.addr, b.addr, to, 0, n, names...) {
				host := names[i%len(names)]
				if !hosts[host] {
					spared++
				}
				if tp != "" && !ownHTTP(i) {
					got[host]++
				}
			}
			for host, want := range hosts {
				if (got[host] > 0) != want {
					t.Errorf("%d of %d requests to %s have a header", got[host], n/len(names), host)
				}
			}
			if in := c.f.Injected().since(before); in.Spared != spared || in.Unexpected > 0 {
				t.Errorf("%+v, want %d spared", in, spared)
			}
		})
	}
	t.Run("gRPC", func(t *testing.T) {
		names := []string{"order.internal:443", "legacy.internal:443", "10.9.9.9:50051", "api.partner.com"}
		s := run(t, buildProgram(t, "rpcstorm"), names...)
		c := injectBy(t, o, s)
		storm(t, s.addr, s.addr, "", 0, 40)
		before := c.f.Injected()
		for i, tp := range storm(t, s.addr, s.addr, "", 0, 100) {
			if want := i%4 == 0 || i%4 == 2; (tp != "") != want && i%20 != 7 && i%20 != 9 { // 7 has its own, 9 too many
				t.Errorf("call %d of %s has %q", i, names[i%4], tp)
			}
		}
		if in := c.f.Injected().since(before); in.Spared != 50 || in.Unexpected > 0 {
			t.Errorf("%+v, want 50 spared", in)
		}
	})
}

// Without patterns but those to spare, all others get a header.
func TestInjectExcept(t *testing.T) {
	exe := buildProgram(t, "storm")
	a, b := run(t, exe), run(t, exe)
	c := injectBy(t, Options{InjectExcept: []string{"*.partner.com"}}, a)
	for i, tp := range storm(t, a.addr, b.addr, "http://"+b.addr, 0, 96, "api.partner.com", "partner.com", "order:80") {
		if i%3 == 0 && tp != "" && !ownHTTP(i) || i%3 != 0 && i%16 == 0 && tp == "" {
			t.Errorf("request %d has %q", i, tp)
		}
	}
	if in := c.f.Injected(); in.Spared != 32 {
		t.Errorf("%+v, want 32 spared", in)
	}
}

func TestInjectGRPC(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) {
			s := run(t, buildProgram(t, "rpcstorm", flags...))
			storm(t, s.addr, s.addr, "", 0, 50)
			c := injectInto(t, s)
			n := stormSize()
			with := compare(t, c, storm(t, s.addr, s.addr, "", 0, n), func(n int) bool { return n%20 == 7 }, GRPCClient, n)
			if with < n*8/10 {
				t.Errorf("only %d of %d calls have a header", with, n)
			}
			if err := c.f.Close(); err != nil {
				t.Fatal(err)
			}
			storm(t, s.addr, s.addr, "", 0, 100)
		})
	}
}

// Two who write into the requests of one process, which both are told of, leave one header in each.
func TestInjectTwice(t *testing.T) {
	exe := buildProgram(t, "storm")
	for _, plain := range []bool{true, false} {
		a, b := run(t, exe), run(t, exe)
		first, second := injectInto(t, a), injectInto(t, a)
		to := "http://" + b.addr
		if !plain {
			to = "https://" + b.tls
		}
		n, with := 400, 0
		for i, tp := range storm(t, a.addr, b.addr, to, 0, n) {
			if strings.Contains(tp, ",") {
				t.Errorf("request %d has %q", i, tp)
			}
			if tp != "" && !ownHTTP(i) {
				with++
			}
		}
		one, two := first.f.Injected(), second.f.Injected()
		if with < n*6/10 || one.Written+two.Written != uint64(with) || one.Own+two.Own < uint64(with) || one.Unexpected+two.Unexpected > 0 {
			t.Errorf("%s: %d with a header; %+v and %+v", to, with, one, two)
		}
		if err := errors.Join(first.f.Close(), second.f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Where the kernel refuses, it says why, and attach goes on.
func TestInjectionRefused(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}, Inject: true})
	err := c.f.Refused()
	if err == nil {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "a kernel that keeps programs from writing"})
	}
	if u := (*kernel.Unsupported)(nil); !errors.As(err, &u) || u.Missing == "" || u.Next == "" || u.Feature != "attach: inject" {
		t.Errorf("refused with %#v: %v", err, err)
	}
	t.Log(err)
	get(t, "http://"+s.addr+"/items/7")
	c.wait(t, "the request", at(HTTPServer, "/items/7"))
	for _, p := range c.processes() {
		if len(p.Injects) > 0 || !p.Attached {
			t.Errorf("attached %v, injects %v", p.Attached, p.Injects)
		}
	}
	if in := c.f.Injected(); in != (Injected{}) {
		t.Errorf("counted %+v", in)
	}
}

// What a program would be written to at, by each way to know it.
func TestInjectionPlan(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}, {"-buildmode=pie", "-ldflags=-s -w"}} {
		for program, want := range map[string][]string{"storm": {"net/http HTTP/1", "net/http HTTP/2"}, "rpcstorm": {"gRPC"}} {
			var bs binaries
			exe := buildProgram(t, program, flags...)
			s := run(t, exe)
			p, _ := kernel.NewHost(kernel.Options{}).Process(s.Process.Pid)
			o, err := bs.open("/proc", p)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, k := range o.plan.injection.kinds {
				if len(k.Missing) > 0 {
					t.Errorf("%s %v: %s lacks %q", program, flags, k.Name, k.Missing)
				}
				got = append(got, k.Name)
			}
			var enters []string
			for _, s := range o.plan.injection.sites {
				if s.enters {
					enters = append(enters, s.program)
				}
			}
			if in := map[string]string{"storm": "inject_conn inject_h2_call", "rpcstorm": "inject_rpc"}[program]; !strings.Contains(strings.Join(enters, " "), in) {
				t.Errorf("%s %v: requests enter at %q, want %s", program, flags, enters, in)
			}
			for _, w := range want {
				if !strings.Contains(strings.Join(got, "|"), w) {
					t.Errorf("%s %v: %q, want %q", program, flags, got, want)
				}
			}
			t.Logf("%s %v: %q %+v", program, flags, got, o.plan.injection.places)
		}
	}
}

// Probes come and go while requests are sent: none is harmed, and none has the header of a span
// that nobody is told of.
func TestInjectWhileRequestsRun(t *testing.T) {
	exe := buildProgram(t, "storm", "-ldflags=-s -w")
	a, b := run(t, exe), run(t, exe)
	_ = injectInto(t, a).f.Close() // ends the test where the kernel refuses, before requests run
	stop, done := make(chan struct{}), make(chan map[int]string, 1)
	go func() {
		defer close(done)
		all := map[int]string{}
		for first := 0; ; first += 200 {
			maps.Copy(all, storm(t, a.addr, b.addr, "http://"+b.addr, first, 200))
			select {
			case <-stop:
				done <- all
				return
			default:
			}
		}
	}()
	sent := map[string]bool{}
	for round := range 2 {
		c := injectInto(t, a)
		kerneltest.Until(t, "a header", func() bool { return c.f.Injected().Written > 100 }) // far more than are on their way at once
		if err := c.f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range c.where(func(s Span) bool { return s.Kind == HTTPClient }) {
			sent[fmt.Sprintf("00-%x-%x-01", s.Trace, s.ID)] = true
		}
		t.Logf("round %d: %v", round, c.f.Injected())
	}
	close(stop)
	seen, ok := <-done
	if !ok {
		t.FailNow()
	}
	with, late := 0, 0
	for i, tp := range seen {
		switch {
		case tp == "" || ownHTTP(i):
		case sent[tp]:
			with++
		default:
			late++ // it was on its way when the probes left, so that its span has no end
		}
	}
	if with == 0 || late > with {
		t.Errorf("%d of %d requests have the header of a span, %d one of none", with, len(seen), late)
	}
	t.Logf("%d with ours, %d whose span was not told", with, late)
}
