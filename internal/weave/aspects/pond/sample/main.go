// Shipments through a pool that the first request starts. No task has a context.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/alitto/pond/v2"
)

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	pool := sync.OnceValue(func() pond.Pool { return pond.NewPool(2) })
	results := sync.OnceValue(func() pond.ResultPool[string] { return pond.NewResultPool[string](2) })
	part := sync.OnceValue(func() pond.Pool { return pool().NewSubpool(1) })

	mux := http.NewServeMux()
	mux.HandleFunc("GET /parcel", func(w http.ResponseWriter, r *http.Request) {
		if err := pool().Submit(func() { get(backend.URL + "/parcel") }).Wait(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("GET /letters", func(w http.ResponseWriter, r *http.Request) {
		group := pool().NewGroup()
		for range 4 {
			group.SubmitErr(func() error {
				get(backend.URL + "/letter")
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("GET /result", func(w http.ResponseWriter, r *http.Request) {
		if _, err := results().Submit(func() string { get(backend.URL + "/result"); return "shipped" }).Wait(); err != nil {
			panic(err)
		}
	})
	mux.HandleFunc("GET /part", func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 2 {
			all.Add(1)
			if err := part().Go(func() { defer all.Done(); get(backend.URL + "/part") }); err != nil {
				panic(err)
			}
		}
		all.Wait()
	})
	serve(mux, "/parcel", "/letters", "/result", "/part", "/parcel", "/letters", "/part")
	part().StopAndWait()
	pool().StopAndWait()
	results().StopAndWait()
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
