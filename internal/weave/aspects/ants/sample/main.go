// Shipments through pools that the first request starts. No task has a context.
package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/panjf2000/ants/v2"
)

// parcel is an argument of the pool with one function.
type parcel struct {
	url  string
	done func()
}

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	parcels := sync.OnceValue(func() *ants.PoolWithFunc {
		pool, err := ants.NewPoolWithFunc(2, func(arg interface{}) {
			p := arg.(parcel)
			defer p.done()
			get(p.url)
		})
		if err != nil {
			panic(err)
		}
		return pool
	})
	letters := sync.OnceValue(func() *ants.Pool {
		pool, err := ants.NewPool(2)
		if err != nil {
			panic(err)
		}
		return pool
	})

	mux := http.NewServeMux()
	mux.HandleFunc("GET /parcels", func(w http.ResponseWriter, r *http.Request) {
		each(3, func(done func()) error { return parcels().Invoke(parcel{backend.URL + "/parcel", done}) })
	})
	mux.HandleFunc("GET /letters", func(w http.ResponseWriter, r *http.Request) {
		each(4, func(done func()) error {
			return letters().Submit(func() {
				defer done()
				get(backend.URL + "/letter")
			})
		})
	})
	mux.HandleFunc("GET /default", func(w http.ResponseWriter, r *http.Request) {
		each(2, func(done func()) error {
			return ants.Submit(func() {
				defer done()
				get(backend.URL + "/default")
			})
		})
	})
	serve(mux, "/parcels", "/letters", "/default", "/parcels", "/letters")
	parcels().Release()
	letters().Release()
}

// each starts n tasks and waits for them.
func each(n int, start func(done func()) error) {
	var all sync.WaitGroup
	for range n {
		all.Add(1)
		if err := start(all.Done); err != nil {
			panic(err)
		}
	}
	all.Wait()
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
