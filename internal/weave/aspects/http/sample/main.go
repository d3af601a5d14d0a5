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
	for _, path := range []string{"/orders/1", "/careless/2", "/api/users/eve", "/nowhere", "/leaves-work"} {
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
	return srv.Shutdown(ctx)
}
