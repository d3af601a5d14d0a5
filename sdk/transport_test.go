package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestTransport(t *testing.T) {
	s, sink := start(t, Options{ServiceName: "shop"})
	var seen http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/fails":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/breaks":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "a part")
		default:
			fmt.Fprint(w, "hello")
		}
	}))
	client := &http.Client{Transport: s.HTTPClient().Transport(nil)}
	ctx, root := s.TracerProvider().Tracer("t").Start(t.Context(), "root")
	get := func(url string) (string, error) {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", "the caller's own")
		res, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		if req.Header.Get("Traceparent") != "the caller's own" {
			t.Error("the caller's request was changed")
		}
		b, err := io.ReadAll(res.Body)
		return string(b), err
	}
	if body, err := get(strings.Replace(server.URL, "http://", "http://user:hunter2@", 1) + "/hello?sig=hunter2&a=b"); err != nil || body != "hello" {
		t.Errorf("got %q, error %v", body, err)
	}
	sc, ok := core.ParseTraceparent(seen.Get("Traceparent"), seen.Get("Tracestate"))
	if !ok || sc.TraceID.String() != root.SpanContext().TraceID().String() || sc.SpanID.String() == root.SpanContext().SpanID().String() || sc.State != "ot=th:0" {
		t.Errorf("the server has seen %v", seen)
	}
	for _, path := range []string{"/none", "/fails"} {
		if _, err := get(server.URL + path); err != nil {
			t.Error(err)
		}
	}
	if _, err := get(server.URL + "/breaks"); err == nil {
		t.Error("half an answer is taken for a whole one")
	}
	server.Close()
	if _, err := get(server.URL); err == nil {
		t.Error("a closed server answers")
	}
	root.End()
	got := sent(t, s, sink)
	for path, wants := range map[string][]string{
		"/v1/traces":  {"root", "/hello?sig=REDACTED&a=b", "204", "503", "unexpected EOF", "dial_error", "connection refused"},
		"/v1/metrics": {"http.client.request.duration", "503", "dial_error"},
	} {
		for _, want := range wants {
			if want == "204" {
				continue // an integer on the wire
			}
			if !strings.Contains(got[path], want) {
				t.Errorf("%q is not in what was sent to %s", want, path)
			}
		}
		if strings.Contains(got[path], "hunter2") {
			t.Errorf("a secret was sent to %s", path)
		}
	}
	if s := s.pipe.Stats(); s.Sent != 6 {
		t.Errorf("%d spans were sent, want the root and five calls", s.Sent)
	}
}

// Idle connections are closed by the client, as without us.
func TestCloseIdleConnections(t *testing.T) {
	s, _ := start(t, Options{})
	over := make(chan struct{})
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(over)
		}
	}
	server.Start()
	defer server.Close()
	client := &http.Client{Transport: s.HTTPClient().Transport(&http.Transport{})}
	res, err := client.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	client.CloseIdleConnections()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Error("the connection is open")
	}
	client.Transport = s.HTTPClient().Transport(struct{ http.RoundTripper }{http.DefaultTransport})
	client.CloseIdleConnections() // has none
}

// A client that has said all it had to still gets its answer, through a proxy
// whose connections to both sides are ours.
func TestProxiedUpgradeIsHalfClosed(t *testing.T) {
	s, _ := start(t, Options{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		all, err := io.ReadAll(buf)
		fmt.Fprintf(conn, "got %q, error %v", all, err)
	}))
	defer backend.Close()
	at, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.Transport = s.HTTPClient().Transport(&http.Transport{})
	proxy.ErrorLog = discardLog()
	server := httptest.NewServer(s.HTTPServer().Handler(proxy))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	answer := bufio.NewReader(conn)
	res, err := http.ReadResponse(answer, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(res, err)
	}
	fmt.Fprint(conn, "all")
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(answer); err != nil || string(got) != `got "all", error <nil>` {
		t.Errorf("the client reads %q, error %v", got, err)
	}
	if err := (&duplexBody{Writer: io.Discard}).CloseWrite(); err != http.ErrNotSupported {
		t.Errorf("half of what has no halves is closed: %v", err)
	}
}

func TestFailures(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	for _, test := range []struct {
		err  error
		want string
	}{
		{ctx.Err(), "timeout"},
		{fmt.Errorf("call: %w", context.Canceled), "*errors.errorString"},
		{io.ErrUnexpectedEOF, "*errors.errorString"},
		{fmt.Errorf("outer: %w", &http.MaxBytesError{}), "*http.MaxBytesError"},
		{errors.Join(errors.New("a")), "*errors.joinError"},
	} {
		if got := failureOf(test.err); got != test.want {
			t.Errorf("%v is %q, want %q", test.err, got, test.want)
		}
	}
}

// One trace goes through a server and its client.
func TestOneTree(t *testing.T) {
	s, _ := start(t, Options{})
	var ids []trace.TraceID
	note := func(r *http.Request) { ids = append(ids, trace.SpanContextFromContext(r.Context()).TraceID()) }
	inner := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { note(r) })))
	defer inner.Close()
	client := &http.Client{Transport: s.HTTPClient().Transport(nil)}
	outer := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		note(r)
		req, _ := http.NewRequestWithContext(r.Context(), "GET", inner.URL, nil)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	})))
	defer outer.Close()
	res, err := http.Get(outer.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if len(ids) != 2 || ids[0] != ids[1] || !ids[0].IsValid() {
		t.Errorf("trace ids %v, want the same twice", ids)
	}
}

// A program fills in its trailers while the body is read.
func TestTrailersOfRequests(t *testing.T) {
	s, _ := start(t, Options{ServiceName: "shop"})
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		got = r.Trailer
	}))
	defer server.Close()
	read, write := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "PUT", server.URL, read)
	if err != nil {
		t.Fatal(err)
	}
	req.Trailer = http.Header{"Checksum": nil}
	go func() {
		fmt.Fprint(write, "hello")
		req.Trailer.Set("Checksum", "42")
		write.Close()
	}()
	res, err := (&http.Client{Transport: s.HTTPClient().Transport(nil)}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got.Get("Checksum") != "42" {
		t.Errorf("the server got the trailers %v", got)
	}
}

// Who passes headers on by hand, as meshes want it, stays in the trace that they
// are of, unless the context says which it is.
func TestTransportWithHeadersByHand(t *testing.T) {
	s, _ := start(t, Options{Sampler: core.NewByThreshold(1)})
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Traceparent") }))
	defer server.Close()
	call := func(ctx context.Context) {
		r, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
		res, err := s.HTTPClient().Transport(&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	if call(t.Context()); !strings.Contains(got, id) || strings.Contains(got, "00f067aa0ba902b7") {
		t.Errorf("sent %q, want a child", got)
	}
	ctx, sp := s.TracerProvider().Tracer("t").Start(t.Context(), "around")
	defer sp.End()
	if call(ctx); !strings.Contains(got, sp.SpanContext().TraceID().String()) {
		t.Errorf("sent %q, want it of the span around", got)
	}
}
