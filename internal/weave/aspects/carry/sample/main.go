// Work that is done later, or after an answer from somebody else's goroutine. None
// of it has a context.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

func main() {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "shipped") }))
	defer backend.Close()
	db := sql.OpenDB(shelf{})
	db.SetMaxOpenConns(1) // so that requests hand it to each other
	if err := db.Ping(); err != nil {
		panic(err)
	}
	closing, cancel := context.WithCancel(context.Background())
	var registered sync.WaitGroup

	mux := http.NewServeMux()
	mux.HandleFunc("GET /later", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan bool)
		time.AfterFunc(time.Millisecond, func() {
			get(backend.URL + "/later")
			close(done)
		})
		<-done
	})
	mux.HandleFunc("GET /closing", func(w http.ResponseWriter, r *http.Request) {
		done := make(chan bool)
		context.AfterFunc(closing, func() {
			get(backend.URL + "/closing")
			close(done)
		})
		registered.Done()
		<-done
	})
	mux.HandleFunc("GET /close", func(w http.ResponseWriter, r *http.Request) {
		registered.Wait()
		cancel()
	})
	mux.HandleFunc("GET /answers", func(w http.ResponseWriter, r *http.Request) {
		var all sync.WaitGroup
		for range 2 {
			all.Add(1)
			go func() {
				defer all.Done()
				for range 2 {
					get(backend.URL + "/answer") // reads it to the end
					if err := db.Ping(); err != nil {
						panic(err)
					}
				}
				get(backend.URL + "/last")
			}()
		}
		all.Wait()
	})
	registered.Add(2)
	serve(mux, "/later", "/answers", "/closing", "/closing", "/close", "/later", "/answers")
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

// shelf is a database without statements.
type shelf struct{}

func (shelf) Connect(context.Context) (driver.Conn, error) { return shelf{}, nil }
func (shelf) Driver() driver.Driver                        { return nil }
func (shelf) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (shelf) Close() error                                 { return nil }
func (shelf) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
