//go:build linux && (amd64 || arm64)

package attach

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

var built sync.Map // program and flags → func() (string, error)

func build(t *testing.T, flags ...string) string { return buildProgram(t, "service", flags...) }

// buildProgram compiles a program of testdata once a set of flags.
func buildProgram(t *testing.T, program string, flags ...string) string {
	t.Helper()
	once, _ := built.LoadOrStore(program+strings.Join(flags, " "), sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "attach")
		if err != nil {
			return "", err
		}
		cleanup = append(cleanup, dir)
		exe := filepath.Join(dir, "service")
		cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, flags...), "./testdata/"+program)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return exe, err
	}))
	exe, err := once.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

var cleanup []string

func TestMain(m *testing.M) {
	if pid, err := strconv.Atoi(os.Getenv(helper)); err == nil {
		help(pid)
		os.Exit(0)
	}
	if pid, err := strconv.Atoi(os.Getenv(claims)); err == nil {
		holdClaim(pid)
		os.Exit(0)
	}
	if exe := os.Getenv(execs); exe != "" {
		_, _ = os.Stdin.Read(make([]byte, 1))
		_ = os.Unsetenv(execs)
		fmt.Fprintln(os.Stderr, syscall.Exec(exe, []string{exe}, os.Environ()))
		os.Exit(1)
	}
	code := m.Run()
	for _, dir := range cleanup {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// service is a running program of testdata.
type service struct {
	*exec.Cmd
	says *bufio.Reader
	addr string // of its HTTP server
	tls  string // of its HTTPS server
}

func run(t *testing.T, exe string, args ...string) *service {
	t.Helper()
	s := begin(t, exec.Command(exe, args...))
	s.ready(t)
	return s
}

// begin starts a service, which is to be waited for (ready).
func begin(t *testing.T, cmd *exec.Cmd) *service {
	t.Helper()
	s := &service{Cmd: cmd}
	s.Stderr = os.Stderr
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill(); _ = s.Wait() })
	s.says = bufio.NewReader(out)
	return s
}

func (s *service) ready(t *testing.T) {
	t.Helper()
	line, err := s.says.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.addr, s.tls, _ = strings.Cut(strings.TrimSpace(line), " ")
}

func get(t *testing.T, url string, header ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp
}

// patience is for a loaded machine, or one that is emulated; on a quiet one nothing takes a second.
const patience = time.Minute

var client = &http.Client{Timeout: patience}

// spans collects what comes up.
type spans struct {
	f    *Feature
	mu   sync.Mutex
	all  []Span
	told []Process
}

func attachTo(t *testing.T, o Options) *spans { return attachBy(t, o, false) }

func attachBy(t *testing.T, o Options, single bool) *spans {
	t.Helper()
	c := &spans{}
	o.OnSpan = func(s Span) { c.mu.Lock(); defer c.mu.Unlock(); c.all = append(c.all, s) }
	o.OnProcess = func(p Process) { c.mu.Lock(); defer c.mu.Unlock(); c.told = append(c.told, p) }
	c.f = New(o)
	c.f.single = single
	kerneltest.Start(t, nil, c.f)
	for _, p := range c.processes() {
		if u := (*kernel.Unsupported)(nil); errors.As(p.Err, &u) {
			t.Skip(u)
		}
	}
	return c
}

func (c *spans) processes() []Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Process(nil), c.told...)
}

// wait returns the first span that ok accepts.
func (c *spans) wait(t *testing.T, what string, ok func(Span) bool) Span {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		c.mu.Lock()
		for _, s := range c.all {
			if ok(s) {
				c.mu.Unlock()
				return s
			}
		}
		var all []string
		for _, s := range c.all {
			all = append(all, fmt.Sprintf("%s %s %s %d", s.Kind, s.Method, s.Text, s.Status))
		}
		c.mu.Unlock()
		if time.Now().After(end) {
			t.Fatalf("no span of %s among %q; losses %v", what, all, c.f.object.Losses())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *spans) where(ok func(Span) bool) (out []Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.all {
		if ok(s) {
			out = append(out, s)
		}
	}
	return out
}

func at(kind Kind, text string) func(Span) bool {
	return func(s Span) bool { return s.Kind == kind && s.Text == text }
}

func TestHTTPServer(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, p := range c.processes() {
		t.Logf("%v: attached=%v in %v, err %v", p.Exe, p.Attached, p.Took, p.Err)
		for _, l := range p.Libraries {
			t.Logf("  %+v", l)
		}
	}
	before := time.Now()
	get(t, "http://"+s.addr+"/items/7")
	after := time.Now()
	got := c.wait(t, "the request", at(HTTPServer, "/items/7"))
	if got.Method != "GET" || got.Status != 201 || got.Route != "GET /items/{id}" || got.Host != s.addr || got.Process.PID != s.Process.Pid {
		t.Errorf("got %+v", got)
	}
	if got.Start.Before(before.Add(-10*time.Millisecond)) || got.End.After(after.Add(10*time.Millisecond)) || got.End.Sub(got.Start) < 10*time.Millisecond {
		t.Errorf("%v to %v, the client's %v to %v", got.Start, got.End, before, after)
	}
	if got.Parent != [8]byte{} || got.Trace == [16]byte{} || got.ID == [8]byte{} {
		t.Errorf("ids of %+v", got)
	}
	if a := got.Peer.Addr(); !a.IsLoopback() || got.Peer.Port() == 0 {
		t.Errorf("peer %v", got.Peer)
	}
}

const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParentFromHeader(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	// Few headers are one group of a map, many are a table of groups.
	for _, n := range []int{0, 3, 8, 25, 60} {
		var header []string
		for i := range n {
			header = append(header, fmt.Sprintf("X-Header-%d", i), "v")
		}
		path := fmt.Sprintf("/items/%d", 100+n)
		get(t, "http://"+s.addr+path, append(header, "traceparent", traceparent)...)
		got := c.wait(t, path, at(HTTPServer, path))
		if hex := fmt.Sprintf("00-%x-%x-01", got.Trace, got.Parent); hex != traceparent || got.Flags&Remote == 0 {
			t.Errorf("with %d headers more: parent %s, flags %b", n, hex, got.Flags)
		}
	}
	for i, bad := range []string{"", "00", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff" + traceparent[2:], strings.ReplaceAll(traceparent, "a", "x")} {
		path := fmt.Sprintf("/items/%d", 200+i)
		get(t, "http://"+s.addr+path, "traceparent", bad)
		if got := c.wait(t, path, at(HTTPServer, path)); got.Parent != [8]byte{} {
			t.Errorf("%q made parent %x", bad, got.Parent)
		}
	}
}

func TestClientsAndGoroutines(t *testing.T) {
	a, b := run(t, build(t)), run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: a.Process.Pid}, {PID: b.Process.Pid}}})
	for _, path := range []string{"/call", "/spawn"} {
		id := "/items/" + strings.TrimPrefix(path, "/")
		get(t, "http://"+a.addr+path+"?to=http://"+b.addr+id)
		server := c.wait(t, path, at(HTTPServer, path))
		sent := c.wait(t, "the client of "+path, at(HTTPClient, id))
		far := c.wait(t, "the server behind "+path, at(HTTPServer, id))
		if sent.Trace != server.Trace || sent.Parent != server.ID || sent.Process.PID != a.Process.Pid {
			t.Errorf("%s: client %+v of server %+v", path, sent, server)
		}
		if sent.Method != "GET" || sent.Status != 201 || sent.Host != b.addr || sent.Error != "" || sent.Peer.String() != b.addr {
			t.Errorf("%s: client %+v", path, sent)
		}
		if sent.Start.Before(server.Start) || sent.End.After(server.End) || sent.End.Sub(sent.Start) < 10*time.Millisecond {
			t.Errorf("%s: client %v to %v, server %v to %v", path, sent.Start, sent.End, server.Start, server.End)
		}
		if far.Trace != server.Trace || far.Parent != sent.ID || far.Flags&Correlated == 0 || far.Process.PID != b.Process.Pid {
			t.Errorf("%s: the far server %+v of client %+v", path, far, sent)
		}
		if (path == "/spawn") == (sent.Goroutine == server.Goroutine) {
			t.Errorf("%s: goroutines %d and %d", path, server.Goroutine, sent.Goroutine)
		}
	}
	get(t, "http://"+a.addr+"/call?to=http://127.0.0.1:1/nobody")
	refused := c.wait(t, "a refused connection", at(HTTPClient, "/nobody"))
	if refused.Error != "*net.OpError" || refused.Status != 0 {
		t.Errorf("refused: %+v", refused)
	}
	server := c.wait(t, "its server", func(s Span) bool { return s.ID == refused.Parent })
	if server.Status != 502 {
		t.Errorf("server of the refused: %+v", server)
	}
	// What came before on this connection is over.
	get(t, "http://"+a.addr+"/items/last")
	if last := c.wait(t, "the last", at(HTTPServer, "/items/last")); last.Parent != [8]byte{} || last.Trace == server.Trace {
		t.Errorf("the last request is part of another: %+v", last)
	}
	if st := c.f.Stats(); st.Dropped != 0 {
		t.Errorf("dropped %d: %v", st.Dropped, c.f.object.Losses())
	}
}

func TestHandlersThatDoNotReturn(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	if _, err := client.Get("http://" + s.addr + "/panic"); err == nil {
		t.Fatal("no error")
	}
	if got := c.wait(t, "the panic", at(HTTPServer, "/panic")); got.Flags&Aborted == 0 {
		t.Errorf("panic: %+v", got)
	}
	get(t, "http://"+s.addr+"/hijack")
	if got := c.wait(t, "the hijack", at(HTTPServer, "/hijack")); got.Flags&Hijacked == 0 || got.Flags&Aborted != 0 {
		t.Errorf("hijack: %+v", got)
	}
}

func TestHTTP2(t *testing.T) {
	a, b := run(t, build(t)), run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: a.Process.Pid}, {PID: b.Process.Pid}}})
	get(t, "http://"+a.addr+"/call?to=https://"+b.tls+"/items/h2", "traceparent", traceparent)
	server := c.wait(t, "the first server", at(HTTPServer, "/call"))
	sent := c.wait(t, "the client", at(HTTPClient, "/items/h2"))
	far := c.wait(t, "the second server", at(HTTPServer, "/items/h2"))
	if sent.Parent != server.ID || sent.Status != 201 || sent.Flags&TLS == 0 {
		t.Errorf("client %+v", sent)
	}
	if far.Flags&HTTP2 == 0 || far.Status != 201 || far.Method != "GET" || far.Route != "GET /items/{id}" || far.End.Sub(far.Start) < 10*time.Millisecond {
		t.Errorf("server %+v", far)
	}
	if far.Parent != sent.ID || far.Trace != server.Trace || far.Flags&Correlated == 0 || !far.Peer.IsValid() {
		t.Errorf("server %+v of client %+v", far, sent)
	}
	if n := len(c.where(at(HTTPServer, "/items/h2"))); n != 1 {
		t.Errorf("%d spans of one request", n)
	}
}

// HTTP/2 without TLS, by golang.org/x/net, past net/http's own server.
func TestH2C(t *testing.T) {
	t.Run("plain", func(t *testing.T) { testH2C(t) })
	t.Run("stripped", func(t *testing.T) { testH2C(t, "-ldflags=-s -w") })
}

func testH2C(t *testing.T, flags ...string) {
	s := run(t, buildProgram(t, "h2c", flags...))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, p := range c.processes() {
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 {
				t.Errorf("%s %s: missing %q", l.Name, l.Version, l.Missing)
			}
		}
	}
	get(t, "http://"+s.addr+"/ask?/made/1")
	made := c.wait(t, "the request", at(HTTPServer, "/made/1"))
	if got := fmt.Sprintf("00-%x-%x-01", made.Trace, made.Parent); got != traceparent || made.Flags&HTTP2 == 0 || made.Status != 201 || made.Route != "/made/{id}" {
		t.Errorf("parent %s of %+v", got, made)
	}
	asked := c.wait(t, "the asking", at(HTTPServer, "/ask"))
	if asked.Flags&HTTP2 != 0 || asked.Status != 201 {
		t.Errorf("asked: %+v", asked)
	}
	// By golang.org/x/net's own client, below nothing of net/http's.
	if sent := c.wait(t, "the client", at(HTTPClient, "/made/1")); sent.Parent != asked.ID || sent.Status != 201 || sent.Method != "GET" || sent.Host != s.addr {
		t.Errorf("sent: %+v", sent)
	}
	get(t, "http://"+s.addr+"/below?/made/2")
	below := c.wait(t, "the second asking", at(HTTPServer, "/below"))
	if sent := c.wait(t, "the client below net/http's", at(HTTPClient, "/made/2")); sent.Parent != below.ID || sent.Status != 201 {
		t.Errorf("sent: %+v", sent)
	}
	if n := len(c.where(func(s Span) bool { return s.Kind == HTTPClient })); n != 2 {
		t.Errorf("%d spans of 2 calls", n)
	}
	// Without a header they are joined by connection and stream, on a new connection and on one that
	// served before, whatever the listener wraps connections in.
	for i, path := range []string{"/ask", "/below", "/std", "/std", "/ask"} {
		made := fmt.Sprintf("/made/own%d", i)
		get(t, "http://"+s.addr+path+"?"+made)
		sent, served := c.wait(t, "the client", at(HTTPClient, made)), c.wait(t, "the served", at(HTTPServer, made))
		if served.Parent != sent.ID || served.Trace != sent.Trace || served.Flags&(Correlated|HTTP2) != Correlated|HTTP2 || served.Peer.Port() == 0 {
			t.Errorf("%s: %+v\nof %+v", path, served, sent)
		}
	}
}

func TestGRPC(t *testing.T) {
	for _, security := range []string{"plain", "tls"} {
		t.Run(security, func(t *testing.T) { testGRPC(t, security) })
	}
}

func testGRPC(t *testing.T, security string) {
	s := run(t, buildProgram(t, "rpc", "-ldflags=-s -w"), security)
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, p := range c.processes() {
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 || len(l.Without) > 0 {
				t.Errorf("%s %s: missing %q, without %q", l.Name, l.Version, l.Missing, l.Without)
			}
		}
	}
	const check, watch = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
	get(t, "http://"+s.addr+"/check?service=nobody")
	root := c.wait(t, "the request", at(HTTPServer, "/check"))
	called, served := c.wait(t, "the call", at(GRPCClient, check)), c.wait(t, "the called", at(GRPCServer, check))
	if called.Parent != root.ID || called.Status != 5 || called.Error == "" || called.Host == "" {
		t.Errorf("client %+v", called)
	}
	if served.Parent != called.ID || served.Trace != root.Trace || served.Status != 5 || served.Flags&Correlated == 0 {
		t.Errorf("server %+v", served)
	}
	get(t, "http://"+s.addr+"/check?traceparent="+traceparent)
	told := c.wait(t, "the call with metadata", func(s Span) bool { return s.Kind == GRPCServer && s.Flags&Remote != 0 })
	if got := fmt.Sprintf("00-%x-%x-01", told.Trace, told.Parent); got != traceparent || told.Status != 0 {
		t.Errorf("parent %s of %+v", got, told)
	}
	get(t, "http://"+s.addr+"/list")
	root = c.wait(t, "the second request", at(HTTPServer, "/list"))
	if stream := c.wait(t, "the stream", at(GRPCClient, watch)); stream.Parent != root.ID || stream.Trace != root.Trace {
		t.Errorf("stream %+v", stream)
	}
	if far := c.wait(t, "the stream's server", at(GRPCServer, watch)); far.Trace != root.Trace || far.Flags&Correlated == 0 {
		t.Errorf("the stream's server %+v", far)
	}
}

func TestSQL(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	get(t, "http://"+s.addr+"/sql")
	server := c.wait(t, "the server", at(HTTPServer, "/sql"))
	for text, want := range map[string]struct {
		method, err string
		n           int
	}{
		"SELECT name FROM items WHERE id = ?": {"SELECT", "", 1},
		"insert into items values (1)":        {"INSERT", "", 1},
		"BROKEN":                              {"BROKEN", "*main.toyError", 1},
		"DELETE FROM items":                   {"DELETE", "", 2},
	} {
		got := c.where(at(SQL, text))
		if len(got) != want.n {
			t.Errorf("%d spans of %q, want %d", len(got), text, want.n)
		}
		for _, g := range got {
			if g.Method != want.method || g.Error != want.err || g.Parent != server.ID || g.Trace != server.Trace || g.System != "main.toy" {
				t.Errorf("%q: %+v", text, g)
			}
		}
	}
}

// Transactions begin and end in spans of their own; a rollback behind a commit is none.
func TestTransactions(t *testing.T) {
	for _, flags := range [][]string{nil, {"-ldflags=-s -w"}} {
		s := run(t, build(t, flags...))
		c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
		get(t, "http://"+s.addr+"/tx")
		server := c.wait(t, "the server", at(HTTPServer, "/tx"))
		var got []string
		for _, s := range c.where(func(s Span) bool { return s.Kind == SQL }) {
			if s.Parent != server.ID || s.System != "main.toy" {
				t.Errorf("span %+v", s)
			}
			got = append(got, strings.TrimSpace(s.Method+" "+s.Error))
		}
		// The driver cannot begin what only reads.
		want := []string{"BEGIN", "UPDATE", "COMMIT *main.toyError", "BEGIN", "ROLLBACK", "BEGIN *errors.errorString"}
		if diff := cmp.Diff(want, got); diff != "" || server.Status != 409 {
			t.Errorf("%q, status %d: %s", flags, server.Status, diff)
		}
		if st := c.f.Stats(); st.Dropped != 0 {
			t.Errorf("dropped %d: %v", st.Dropped, c.f.object.Losses())
		}
	}
}

// Requests with a body begin at another probe than those without, once, whoever reads it.
func TestBodies(t *testing.T) {
	s := run(t, build(t, "-ldflags=-s -w"))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	ask := func(path, method string, body io.Reader, expect bool) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+s.addr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("traceparent", traceparent)
		if expect {
			req.Header.Set("Expect", "100-continue")
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	want := map[string]int{}
	for _, path := range []string{"/unread", "/elsewhere"} {
		for range 3 { // over one connection
			ask(path, "POST", strings.NewReader("some"), false)
			ask(path, "PUT", io.MultiReader(strings.NewReader("chunked")), false)
			ask(path, "PATCH", strings.NewReader("later"), true)
			ask(path, "POST", http.NoBody, false)
			ask(path, "GET", nil, false)
		}
		want["POST "+path], want["PUT "+path], want["PATCH "+path], want["GET "+path] = 6, 3, 3, 3
	}
	c.wait(t, "the last", func(s Span) bool { return s.Text == "/elsewhere" && s.Method == "GET" })
	kerneltest.Until(t, "all", func() bool { return len(c.where(func(Span) bool { return true })) >= 30 })
	got := map[string]int{}
	for _, s := range c.where(func(Span) bool { return true }) {
		got[s.Method+" "+s.Text]++
		if hex := fmt.Sprintf("00-%x-%x-01", s.Trace, s.Parent); hex != traceparent || s.Status != 200 && s.Status != 0 {
			t.Errorf("parent %s of %+v", hex, s)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if st := c.f.Stats(); st.Dropped != 0 || c.f.object.Losses()[noStart] != 0 {
		t.Errorf("dropped %d: %v", st.Dropped, c.f.object.Losses())
	}
}

// One request cannot make a trace of any size.
func TestTraceIsBounded(t *testing.T) {
	s := run(t, build(t))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}, SpansPerTrace: 10})
	get(t, "http://"+s.addr+"/many")
	server := c.wait(t, "the server", at(HTTPServer, "/many"))
	if n := len(c.where(func(s Span) bool { return s.Trace == server.Trace })); n != 11 {
		t.Errorf("%d spans", n)
	}
	if st := c.f.Stats(); st.Dropped != 20 {
		t.Errorf("dropped %d, want 20: %v", st.Dropped, c.f.object.Losses())
	}
}
