// Goroutines without contexts: of a request, of its goroutines, in iterators; and
// of a pool that the first request starts, which belong to nobody.
package main

import (
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"sync"
)

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	jobs := sync.OnceValue(func() chan func() {
		jobs := make(chan func())
		for range 2 {
			go func() {
				for job := range jobs {
					job()
				}
			}()
		}
		return jobs
	})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /fan", func(w http.ResponseWriter, r *http.Request) {
		results := make(chan string)
		go func() {
			for range 2 {
				go func() {
					get(backend.URL + "/grandchild")
					results <- "shipped"
				}()
			}
			get(backend.URL + "/child")
			results <- "shipped"
		}()
		for range 3 {
			<-results
		}
	})
	mux.HandleFunc("GET /pull", func(w http.ResponseWriter, r *http.Request) {
		next, stop := iter.Pull(func(yield func(int) bool) {
			for i := 0; ; i++ {
				get(backend.URL + "/pulled")
				if !yield(i) {
					return
				}
			}
		})
		defer stop()
		next()
	})
	mux.HandleFunc("GET /worker", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan bool)
		jobs() <- func() {
			get(backend.URL + "/worker")
			close(done)
		}
		<-done
	})
	// The first to start the pool, and to send: the pool is its own.
	serve(mux, "/worker")
	serve(mux, "/worker")
	serve(mux, "/fan", "/pull", "/worker", "/fan", "/pull")
	close(jobs())
}

// serve runs a request on each path, all of them at the same time.
func serve(handler http.Handler, paths ...string) {
	server := httptest.NewServer(handler)
	defer server.Close()
	var all sync.WaitGroup
	for _, path := range paths {
		all.Add(1)
		go func() {
			defer all.Done()
			get(server.URL + path)
		}()
	}
	all.Wait()
	fmt.Println("served")
}

// get passes no context.
func get(url string) {
	resp, err := http.Get(url)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
}
