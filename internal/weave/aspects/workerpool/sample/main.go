// Shipments through a pool that the first request starts. No task has a context.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/gammazero/workerpool"
)

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	pool := sync.OnceValue(func() *workerpool.WorkerPool { return workerpool.New(2) })

	mux := http.NewServeMux()
	mux.HandleFunc("GET /parcel", func(w http.ResponseWriter, r *http.Request) {
		pool().SubmitWait(func() { get(backend.URL + "/parcel") })
	})
	mux.HandleFunc("GET /letters", func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 5 {
			all.Add(1)
			pool().Submit(func() {
				defer all.Done()
				get(backend.URL + "/letter")
			})
		}
		all.Wait()
	})
	serve(mux, "/parcel", "/letters", "/parcel", "/letters")
	pool().StopWait()
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
