//go:build linux && (amd64 || arm64)

package attach

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// firstLines are first lines of requests, up to the version.
var firstLines = []string{
	"GET /", "GET /fast", "GET /fast?", "GET /fast?a=b/c?d", "GET /a%20b%2Fc?x=%20", "GET //two//slashes", "GET /a#b?c", "GET /ü", "GET /%zz",
	"POST http://user@example.com/absolute%2F?x=1", "GET http://example.com", "OPTIONS *", "CONNECT example.com:443", "CONNECT /rpc%20", "GET ?", "X /", "GET /;a=b",
}

// What user space takes out of a line is what net/http does.
func TestSplitLine(t *testing.T) {
	for _, line := range firstLines {
		method := strings.IndexByte(line, ' ')
		m, path := splitLine(line, method)
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil {
			t.Logf("%q is not served: %v", line, err)
			continue
		}
		if m != r.Method || path != r.URL.Path {
			t.Errorf("%q: %q %q, net/http says %q %q", line, m, path, r.Method, r.URL.Path)
		}
	}
	for _, cut := range []string{"", "G", "GET"} {
		if m, path := splitLine(cut, 3); m != "" || path != "" {
			t.Errorf("%q: %q %q", cut, m, path)
		}
	}
}

// Spans have the method and path of what came, in whatever form, and however long.
func TestFirstLines(t *testing.T) {
	s := run(t, buildProgram(t, "server"))
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, a := range c.f.attached {
		if o, err := c.f.binaries.open("/proc", a.Process); err != nil || o.plan.offsets.RequestUri == none {
			t.Errorf("lines are not read at one stroke: %v", err)
		}
	}
	long := "/" + strings.Repeat("long", 50)
	for _, line := range append([]string{"GET /" + strings.Repeat("q", 42), "GET /" + strings.Repeat("q", 43), "GET /" + strings.Repeat("q", 44), "GET /x?" + long, "DELETE " + long, "LONGMETHODS /"}, firstLines...) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + " HTTP/1.1\r\nHost: a\r\n\r\n")))
		if err != nil {
			continue
		}
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, line+" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		got := c.wait(t, line, at(HTTPServer, r.URL.Path))
		if got.Method != r.Method || got.Flags&^Truncated != 0 || got.Host != r.Host {
			t.Errorf("%q: %+v", line, got)
		}
		c.mu.Lock()
		c.all = nil
		c.mu.Unlock()
	}
}
