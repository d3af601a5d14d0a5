// Shipments through pools and streams. No task has a context.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/sourcegraph/conc"
	"github.com/sourcegraph/conc/pool"
	"github.com/sourcegraph/conc/stream"
)

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	// One for all requests, which the first starts.
	shared := pool.New().WithMaxGoroutines(2)
	callbacks := stream.New().WithMaxGoroutines(2)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /parcels", func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 3 {
			all.Add(1)
			shared.Go(func() {
				defer all.Done()
				get(backend.URL + "/parcel")
			})
		}
		all.Wait()
	})
	mux.HandleFunc("GET /letters", func(w http.ResponseWriter, r *http.Request) {
		results := pool.NewWithResults[string]().WithErrors()
		for range 2 {
			results.Go(func() (string, error) {
				get(backend.URL + "/letter")
				return "shipped", nil
			})
		}
		if _, err := results.Wait(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		all.Add(1)
		callbacks.Go(func() stream.Callback {
			get(backend.URL + "/task")
			return func() {
				defer all.Done()
				get(backend.URL + "/callback")
			}
		})
		all.Wait()
	})
	mux.HandleFunc("GET /group", func(w http.ResponseWriter, r *http.Request) {
		var group conc.WaitGroup
		for range 2 {
			group.Go(func() { get(backend.URL + "/group") })
		}
		group.Wait()
	})
	serve(mux, "/parcels", "/letters", "/stream", "/group", "/parcels", "/stream")
	shared.Wait()
	callbacks.Wait()
}

// serve runs a request on each path, all of them at the same time, twice.
func serve(handler http.Handler, paths ...string) {
	server := httptest.NewServer(handler)
	defer server.Close()
	for range 2 {
		var all sync.WaitGroup
		for _, path := range paths {
			all.Add(1)
			go func() {
				defer all.Done()
				get(server.URL + path)
			}()
		}
		all.Wait()
	}
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
