// Orders in PostgreSQL with sqlx: structs, slices, named statements, a prepared
// one, a transaction, a statement that fails, calls without the context. It needs
// a server: PG_DSN says where.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
)

type order struct {
	ID   int64
	Item string
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	db, err := sqlx.Connect("pgx", os.Getenv("PG_DSN"))
	must(err)
	defer db.Close()
	db.MustExec("DROP TABLE IF EXISTS sqlx_orders")
	db.MustExec("CREATE TABLE sqlx_orders (id BIGINT PRIMARY KEY, item TEXT NOT NULL)")

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		tx, err := db.BeginTxx(ctx, nil)
		must(err)
		_, err = tx.NamedExecContext(ctx, "INSERT INTO sqlx_orders (id, item) VALUES (:id, :item)", []order{{7, "tea"}, {8, "milk"}})
		must(err)
		must(tx.Commit())
		slog.InfoContext(ctx, "orders made", "number", 2)
	})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		var one order
		must(db.GetContext(ctx, &one, "SELECT id, item FROM sqlx_orders WHERE id = $1", r.PathValue("id")))
		if err := db.GetContext(ctx, &one, "SELECT id, item FROM sqlx_orders WHERE id = $1", 9); !errors.Is(err, sql.ErrNoRows) {
			panic(err)
		}
		query, args, err := sqlx.In("SELECT id, item FROM sqlx_orders WHERE id IN (?)", []int{7, 8})
		must(err)
		var all []order
		must(db.SelectContext(ctx, &all, db.Rebind(query), args...))
		fmt.Fprintln(w, one.Item, len(all))
	})
	// The context does not come along.
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		var n int
		must(db.Get(&n, "SELECT count(*) FROM sqlx_orders"))
		statement, err := db.PreparexContext(context.Background(), "SELECT item FROM sqlx_orders WHERE id = $1")
		must(err)
		defer statement.Close()
		var item string
		must(statement.Get(&item, 8))
	})
	mux.HandleFunc("GET /wrong", func(w http.ResponseWriter, r *http.Request) {
		if _, err := db.QueryxContext(r.Context(), "SELECT nothing FROM nowhere"); err != nil {
			http.Error(w, "there is no such table", http.StatusInternalServerError)
		}
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"POST", "/orders"}, {"GET", "/orders/7"}, {"GET", "/blind"}, {"GET", "/wrong"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
	db.MustExec("DROP TABLE sqlx_orders")
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
