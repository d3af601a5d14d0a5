// Command http serves and calls over net/http, in the ways programs do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// client is one with a transport of its own, behind a RoundTripper of somebody.
var client = &http.Client{Transport: signed{http.DefaultTransport.(*http.Transport).Clone()}}

type signed struct{ http.RoundTripper }

func (s signed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Signature", "x")
	return s.RoundTripper.RoundTrip(r)
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.Request != r && res.Request.URL.Path == r.URL.Path && c == http.DefaultClient {
		return "", errors.New("the answer is that of another request")
	}
	body, err := io.ReadAll(res.Body)
	return res.Status + " " + string(body), err
}

type userKey struct{}

// withUser makes another request, as middleware does.
func withUser(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, "eve")))
	})
}

func run() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	base := "http://" + l.Addr().String()
	fetch := func(w http.ResponseWriter, ctx context.Context, path string) {
		answer, err := get(ctx, client, base+path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, answer)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stock/{item}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "7") })
	// It passes its context on.
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		fetch(w, r.Context(), "/stock/"+r.PathValue("id"))
	})
	// It does not, and answers in parts.
	mux.HandleFunc("GET /careless/{id}", func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, path := range []string{"/stock/1", "/stock/2"} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				mu.Lock()
				defer mu.Unlock()
				fetch(w, context.Background(), path)
				w.(http.Flusher).Flush()
			}()
		}
		wg.Wait()
	})
	mux.HandleFunc("POST /large", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10)); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	mux.HandleFunc("POST /panics", func(http.ResponseWriter, *http.Request) { panic("a bug") })
	inner := http.NewServeMux()
	inner.HandleFunc("/users/{name}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Context().Value(userKey{})) })
	mux.Handle("/api/", http.StripPrefix("/api", inner))
	// Another handler answers a part of it.
	mux.HandleFunc("GET /batch", func(w http.ResponseWriter, r *http.Request) {
		part, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "/stock/9", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, part)
	})
	late := make(chan struct{})
	var wg sync.WaitGroup
	mux.HandleFunc("/leaves-work", func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		go func() { // which is nobody's any more when it comes to it
			defer wg.Done()
			<-late
			_, _ = get(context.Background(), client, base+"/stock/late")
		}()
	})
	srv := &http.Server{Handler: withUser(mux), ErrorLog: log.New(io.Discard, "", 0)}
	go srv.Serve(l)

	ctx := context.Background()
	for _, path := range []string{"/orders/1", "/careless/2", "/api/users/eve", "/batch", "/nowhere", "/leaves-work"} {
		answer, err := get(ctx, http.DefaultClient, base+path)
		fmt.Println(path, strings.TrimSpace(answer), err != nil)
	}
	time.Sleep(50 * time.Millisecond) // until the server is done with it, too
	close(late)
	wg.Wait()
	if _, err := http.Post(base+"/panics", "text/plain", strings.NewReader("x")); err == nil {
		return errors.New("a handler that panics has answered")
	}
	res, err := http.Post(base+"/large", "text/plain", strings.NewReader(strings.Repeat("x", 1<<20)))
	if err == nil {
		fmt.Println("/large", res.Status, res.Close, res.Header.Get("Connection"))
		res.Body.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return errors.Join(srv.Shutdown(ctx), serverKnows())
}

// serverKnows: without middleware, a handler has the request that the server
// knows, and a writer with all that it has. The server removes the files of a
// form, and adds trailers that were not announced.
func serverKnows() error {
	folder, err := os.MkdirTemp("", "form")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	os.Setenv("TMPDIR", folder)
	files := func() int { all, _ := os.ReadDir(folder); return len(all) }
	var trailer string
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, can := w.(interface {
			EnableFullDuplex() error
			SetReadDeadline(time.Time) error
			SetWriteDeadline(time.Time) error
		})
		if err := r.ParseMultipartForm(1); err != nil || files() != 1 || !can {
			fmt.Fprintln(w, err, files(), can)
		}
		io.Copy(io.Discard, r.Body)
		trailer = r.Trailer.Get("Sum")
	}))
	srv.Start()
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	form := "--x\r\nContent-Disposition: form-data; name=f; filename=f\r\n\r\n" + strings.Repeat("f", 11<<20) + "\r\n--x--\r\n"
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: form\r\nContent-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"+
		"%x\r\n%s\r\n0\r\nSum: 7\r\n\r\n", len(form), form)
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	srv.Close()
	if text := string(answer); !strings.HasSuffix(text, "\r\n\r\n") || files() != 0 || trailer != "7" {
		return fmt.Errorf("a form was answered %q, %d of its files are left, its trailer %q", text, files(), trailer)
	}
	return nil
}
