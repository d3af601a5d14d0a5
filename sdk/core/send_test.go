package core

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func newTestSender(t *testing.T, opts SenderOptions, handler http.HandlerFunc) *Sender {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	opts.URL = server.URL + "/v1/traces"
	s, err := NewSender(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSend(t *testing.T) {
	for _, zip := range []bool{false, true} {
		s := newTestSender(t, SenderOptions{Gzip: zip, Headers: map[string]string{"X-Scope-OrgID": "7"}}, func(w http.ResponseWriter, r *http.Request) {
			body := io.Reader(r.Body)
			if r.Header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(r.Body)
				if err != nil {
					t.Error(err)
					return
				}
				body = z
			}
			text, err := io.ReadAll(body)
			if err != nil || string(text) != "a request" || zip != (r.Header.Get("Content-Encoding") == "gzip") ||
				r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("X-Scope-OrgID") != "7" {
				t.Errorf("got %q, error %v, path %s, header %v", text, err, r.URL.Path, r.Header)
			}
			// partial_success { rejected_spans: 3, error_message: "x" }
			_, _ = w.Write([]byte{0x0a, 5, 0x08, 3, 0x12, 1, 'x'})
		})
		for range 3 { // compressors are used again
			if rejected, err := s.Send(t.Context(), []byte("a request"), 10); err != nil || rejected != 3 {
				t.Errorf("rejected %d, error %v, want 3", rejected, err)
			}
		}
	}
}

func TestSendTriesAgain(t *testing.T) {
	var calls atomic.Int64
	s := newTestSender(t, SenderOptions{}, func(w http.ResponseWriter, _ *http.Request) {
		switch calls.Add(1) {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks
		}
	})
	began := time.Now()
	if _, err := s.Send(t.Context(), nil, 1); err != nil || calls.Load() != 3 {
		t.Errorf("error %v after %d tries, want success at the third", err, calls.Load())
	}
	if d := time.Since(began); d < time.Second {
		t.Errorf("came back after %v although asked to wait a second", d)
	}
}

func TestSendGivesUp(t *testing.T) {
	var calls atomic.Int64
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	f := func(name string, opts SenderOptions, h http.HandlerFunc, tries int64, want string) {
		t.Helper()
		calls.Store(0)
		s := newTestSender(t, opts, h)
		if _, err := s.Send(t.Context(), nil, 1); err == nil || !strings.Contains(err.Error(), want) || calls.Load() != tries {
			t.Errorf("%s: %d tries, error %v; want %d and %q", name, calls.Load(), err, tries, want)
		}
	}
	f("a bad request", SenderOptions{}, answer(400, "what is this"), 1, "what is this")
	f("a google.rpc.Status", SenderOptions{}, answer(403, "\x08\x07\x12\x04nope"), 1, `"nope"`)
	f("a redirect", SenderOptions{}, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}, 1, "302")
	f("an overloaded receiver", SenderOptions{GiveUp: time.Millisecond}, answer(429, ""), 1, "give up")
	f("garbage in many bytes", SenderOptions{}, answer(500, strings.Repeat("\xff", 1<<20)), 1, "500")

	s := newTestSender(t, SenderOptions{}, answer(503, ""))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Send(ctx, nil, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestSendTimesOut(t *testing.T) {
	release := make(chan struct{})
	s := newTestSender(t, SenderOptions{Timeout: 20 * time.Millisecond, GiveUp: time.Millisecond}, func(http.ResponseWriter, *http.Request) { <-release })
	_, err := s.Send(t.Context(), nil, 1)
	close(release)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a receiver that does not answer: %v", err)
	}
}

func TestNewSenderErrors(t *testing.T) {
	for _, u := range []string{"", "localhost:4318", "ftp://x/", "http://", "http://user:hunter2@%zz/"} {
		_, err := NewSender(SenderOptions{URL: u})
		if err == nil {
			t.Errorf("%q is taken", u)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: a password in the error %q", u, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte{0x0a, 5, 0x08, 3, 0x12, 1, 'x'})
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if n := RejectedItems(answer); n < 0 {
			t.Errorf("%d rejected", n)
		}
		if s := reason(answer); len([]rune(s)) > 2*maxReason {
			t.Errorf("a reason of %d bytes", len(s))
		}
	})
}

// At the end of the process a receiver that is away holds up nobody.
func TestExiting(t *testing.T) {
	t.Cleanup(func() { exiting, exitOnce = make(chan struct{}), sync.Once{} })
	tries := make(chan int, 8)
	n := 0
	ended := make(chan error, 1)
	go func() {
		_, err := Retry(t.Context(), 2*time.Hour, func(context.Context) (int, error) {
			n++
			tries <- n
			return 0, &Retryable{Err: errors.New("away"), After: time.Hour}
		})
		ended <- err
	}()
	<-tries
	Exiting()
	Exiting()
	select {
	case err := <-ended:
		if err == nil || n != 2 {
			t.Errorf("error %v after %d tries, want that of the last of two", err, n)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for its next try")
	}
	if !IsOwn(Own(t.Context())) || IsOwn(t.Context()) {
		t.Error("what is the business of telemetry is not told apart")
	}
}
