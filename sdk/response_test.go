package sdk

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// abilities are the methods of a writer that handlers look for.
func abilities(w http.ResponseWriter) string {
	var can []string
	add := func(name string, ok bool) {
		if ok {
			can = append(can, name)
		}
	}
	_, flusher := w.(http.Flusher)
	_, flushError := w.(interface{ FlushError() error })
	_, closeNotifier := w.(interface{ CloseNotify() <-chan bool })
	_, hijacker := w.(http.Hijacker)
	_, readerFrom := w.(io.ReaderFrom)
	_, pusher := w.(http.Pusher)
	add("flush", flusher)
	add("flush with error", flushError)
	add("notify", closeNotifier)
	add("hijack", hijacker)
	add("read from", readerFrom)
	add("push", pusher)
	return strings.Join(can, ", ")
}

var errTried = errors.New("tried")

// The writers that others put between net/http and us have some methods.
type (
	bare         struct{ http.ResponseWriter }
	withFlush    struct{}
	withHijack   struct{}
	withReadFrom struct{}
	withPush     struct{}
	withNotify   struct{}
)

func (withFlush) Flush()                                        {}
func (withFlush) FlushError() error                             { return errTried }
func (withHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errTried }
func (withReadFrom) ReadFrom(io.Reader) (int64, error)          { return 0, errTried }
func (withPush) Push(string, *http.PushOptions) error           { return errTried }
func (withNotify) CloseNotify() <-chan bool                     { return closed }

var closed = make(chan bool)

// Handlers must find the methods that they would find without us.
func TestHandlerKeepsWhatTheWriterCan(t *testing.T) {
	s, _ := start(t, Options{})
	say := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, abilities(w)) })
	for _, http2 := range []bool{false, true} {
		var said []string
		for _, h := range []http.Handler{say, s.HTTPServer().Handler(say)} {
			server := httptest.NewUnstartedServer(h)
			server.EnableHTTP2 = http2
			server.StartTLS()
			res, err := server.Client().Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(res.Body)
			said = append(said, res.Proto+": "+string(b))
			server.Close()
		}
		if said[0] != said[1] {
			t.Errorf("%s without us, %s with", said[0], said[1])
		}
	}
	const flush = "flush, flush with error, notify"
	for _, test := range []struct {
		below http.ResponseWriter
		want  string
	}{
		{bare{}, ""},
		{struct {
			bare
			withFlush
		}{}, flush},
		{struct {
			bare
			withHijack
		}{}, "hijack"},
		{struct {
			bare
			withFlush
			withHijack
		}{}, flush + ", hijack"},
		{struct {
			bare
			withFlush
			withPush
		}{}, flush + ", push"},
		{struct {
			bare
			withFlush
			withHijack
			withReadFrom
		}{}, flush + ", hijack, read from"},
	} {
		w := &response{ResponseWriter: test.below}
		if got := abilities(w.capable()); got != test.want {
			t.Errorf("of a %T: %q, want %q", test.below, got, test.want)
		}
		if got := responseOf(w.capable()); got != w {
			t.Errorf("of a %T: the response is %p, want %p", test.below, got, w)
		}
	}
}

// What is called is that of the writer below.
func TestHandlerCallsWhatTheWriterCan(t *testing.T) {
	type flushNotifier struct {
		bare
		withFlush
		withNotify
	}
	w := (&response{ResponseWriter: flushNotifier{bare: bare{httptest.NewRecorder()}}}).capable()
	if err := http.NewResponseController(w).Flush(); err != errTried {
		t.Errorf("a flush that fails gives %v", err)
	}
	if got := w.(interface{ CloseNotify() <-chan bool }).CloseNotify(); got != closed {
		t.Errorf("notified by %v, want %v", got, closed)
	}
	w = (&response{ResponseWriter: httptest.NewRecorder()}).capable()
	if err := http.NewResponseController(w).Flush(); err != nil {
		t.Errorf("a flush gives %v", err)
	}
	if got := w.(interface{ CloseNotify() <-chan bool }).CloseNotify(); got != nil {
		t.Error("a recorder notifies")
	}
}

func TestHijack(t *testing.T) {
	s, _ := start(t, Options{})
	server := httptest.NewServer(s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\nown")
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	all, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil || !strings.HasSuffix(string(all), "own") {
		t.Errorf("read %q, error %v", all, err)
	}
}

// What the client gets is what is counted, also when an answer is begun that does
// not come about.
func TestAnswersThatFail(t *testing.T) {
	broken := errors.New("upstream is gone")
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   int
	}{
		"a source that fails": {func(w http.ResponseWriter, _ *http.Request) {
			if _, err := io.Copy(w, failingReader{broken}); err != broken {
				t.Errorf("error %v", err)
			}
			http.Error(w, "upstream", http.StatusBadGateway)
		}, http.StatusBadGateway},
		"a source that is empty": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, onlyReader{strings.NewReader("")})
			http.Error(w, "nothing", http.StatusNotFound)
		}, http.StatusNotFound},
		"a source that fails late": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.MultiReader(strings.NewReader("a"), failingReader{broken}))
			http.Error(w, "upstream", http.StatusBadGateway)
		}, http.StatusOK},
		"an empty answer": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, onlyReader{strings.NewReader("")})
		}, http.StatusOK},
		"a connection that is not to be had": {func(w http.ResponseWriter, _ *http.Request) {
			own := (&response{ResponseWriter: struct {
				bare
				withFlush
				withHijack
			}{bare: bare{w}}})
			if _, _, err := own.capable().(http.Hijacker).Hijack(); err != errTried {
				t.Errorf("error %v", err)
			}
			own.WriteHeader(http.StatusUpgradeRequired)
			if own.status != http.StatusUpgradeRequired {
				t.Errorf("after a hijack that failed: status %d", own.status)
			}
		}, http.StatusUpgradeRequired},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
			status := 0
			h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer func() { status = int(responseOf(w).status) }()
				test.answer(w, r)
			}))
			server := httptest.NewUnstartedServer(h)
			server.Config.ErrorLog = discardLog() // of headers that are written twice
			server.Start()
			defer server.Close()
			res, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			server.Close()
			if status == 0 {
				status = http.StatusOK
			}
			if res.StatusCode != test.want || status != test.want {
				t.Errorf("the client gets %d, %d is counted, want %d", res.StatusCode, status, test.want)
			}
			if len(res.Header["X-Request-Id"]) != 1 {
				t.Errorf("the answer has request ids %q", res.Header["X-Request-Id"])
			}
			if got := sent(t, s, sink)["/v1/metrics"]; (test.want == http.StatusBadGateway) != strings.Contains(got, "502") {
				t.Errorf("502 is in the metrics: %v", strings.Contains(got, "502"))
			}
		})
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// onlyReader hides that its reader can write by itself, as an upstream's body
// cannot.
type onlyReader struct{ io.Reader }

// What the server cleans up after a request it finds on the one that it knows.
func TestFormIsHandedBack(t *testing.T) {
	s, _ := start(t, Options{})
	form := &multipart.Form{}
	for name, h := range map[string]http.Handler{
		"a form":     http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { r.MultipartForm = form }),
		"of another": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
	} {
		r := httptest.NewRequest("POST", "/", nil)
		if name == "of another" {
			r.MultipartForm = form
		}
		s.HTTPServer().Handler(h).ServeHTTP(httptest.NewRecorder(), r)
		if r.MultipartForm != form {
			t.Errorf("%s: it is lost", name)
		}
	}
}

// Deadlines are set without http.ResponseController, too, where they can be.
func TestDeadlines(t *testing.T) {
	s, _ := start(t, Options{})
	type deadlines interface {
		SetReadDeadline(time.Time) error
		SetWriteDeadline(time.Time) error
		EnableFullDuplex() error
	}
	set := func(w http.ResponseWriter) error {
		d := w.(deadlines)
		at := time.Now().Add(time.Minute)
		return errors.Join(d.SetReadDeadline(at), d.SetWriteDeadline(at), d.EnableFullDuplex())
	}
	h := s.HTTPServer().Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := set(w); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	res, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("net/http: %s", res.Status)
	}
	recorded := httptest.NewRecorder() // cannot
	if h.ServeHTTP(recorded, httptest.NewRequest("GET", "/", nil)); !strings.Contains(recorded.Body.String(), http.ErrNotSupported.Error()) {
		t.Errorf("another writer: %q", recorded.Body)
	}
}
