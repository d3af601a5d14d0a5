// Command sql keeps orders in a database, by database/sql.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"modernc.org/sqlite"
)

// db is opened before main runs, as programs like to.
var db = must(sql.Open("sqlite", "file:orders?mode=memory&cache=shared"))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// connector is somebody's own.
type connector struct{ own sqlite.Driver }

func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.own.Open("file::memory:") }
func (c *connector) Driver() driver.Driver                        { return &c.own }

func main() {
	defer db.Close()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	if _, ok := db.Driver().(*sqlite.Driver); !ok {
		return fmt.Errorf("the driver is %T", db.Driver())
	}
	if _, err := db.Exec("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)"); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders/{item}", func(w http.ResponseWriter, r *http.Request) {
		tx, err := db.BeginTx(r.Context(), nil)
		if err == nil {
			_, err = tx.ExecContext(r.Context(), "INSERT INTO orders (item) VALUES (?)", r.PathValue("item"))
			err = errors.Join(err, tx.Commit())
		}
		answer(w, err)
	})
	// No context goes along.
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		var item string
		err := db.QueryRow("SELECT item FROM orders WHERE id = 1 AND item <> 'x'").Scan(&item)
		answer(w, err)
	})
	mux.HandleFunc("GET /statement", func(w http.ResponseWriter, r *http.Request) {
		stmt, err := db.Prepare("SELECT count(*) FROM orders")
		if err == nil {
			var n int
			err = errors.Join(stmt.QueryRow().Scan(&n), stmt.Close())
		}
		answer(w, err)
	})
	mux.HandleFunc("GET /mistake", func(w http.ResponseWriter, r *http.Request) {
		_, err := db.Query("SELECT nothing FROM nowhere")
		answer(w, err)
	})
	mux.HandleFunc("GET /own", func(w http.ResponseWriter, r *http.Request) {
		own := sql.OpenDB(new(connector))
		defer own.Close()
		answer(w, own.PingContext(context.Background()))
	})
	mux.HandleFunc("GET /raw", func(w http.ResponseWriter, r *http.Request) {
		conn, err := db.Conn(r.Context())
		if err == nil {
			err = conn.Raw(func(c any) error {
				if name := fmt.Sprintf("%T", c); name != "*sqlite.conn" {
					return errors.New("the driver's connection is " + name)
				}
				return nil
			})
			err = errors.Join(err, conn.Close())
		}
		answer(w, err)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	if res, err := http.Post(srv.URL+"/orders/tea", "", nil); err != nil || res.StatusCode != 200 {
		return fmt.Errorf("order: %v %v", res, err)
	}
	for _, path := range []string{"/orders/1", "/statement", "/mistake", "/own", "/raw"} {
		res, err := http.Get(srv.URL + path)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		fmt.Println(path, res.Status, strings.TrimSpace(string(body)), err)
	}
	return nil
}

func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
