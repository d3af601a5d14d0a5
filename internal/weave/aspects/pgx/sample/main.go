// Orders in PostgreSQL with pgx: a pool and a connection, queries, a batch, a
// copy, transactions, statements that fail, calls without the context. It needs a
// server: PG_DSN says where.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("PG_DSN"))
	must(err)
	defer pool.Close()
	exec(ctx, pool, "DROP TABLE IF EXISTS pgx_orders")
	exec(ctx, pool, "CREATE TABLE pgx_orders (id BIGINT PRIMARY KEY, item TEXT NOT NULL)")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		exec(ctx, pool, "INSERT INTO pgx_orders (id, item) VALUES ($1, $2)", 7, "tea")
		var item string
		must(pool.QueryRow(ctx, "SELECT item FROM pgx_orders WHERE id = $1", 7).Scan(&item))
		slog.InfoContext(ctx, "order read", "item", item)
		rows, err := pool.Query(ctx, "SELECT id, item FROM pgx_orders ORDER BY id")
		must(err)
		for rows.Next() {
		}
		must(rows.Err())
	})
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		var n int
		must(pool.QueryRow(context.Background(), "SELECT count(*) FROM pgx_orders").Scan(&n))
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		must(pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE pgx_orders SET item = $1 WHERE id = $2", "coffee", 7)
			return err
		}))
		batch := new(pgx.Batch)
		batch.Queue("INSERT INTO pgx_orders (id, item) VALUES ($1, $2)", 8, "tea")
		batch.Queue("SELECT item FROM pgx_orders WHERE id = $1", 8)
		must(pool.SendBatch(ctx, batch).Close())
		_, err := pool.CopyFrom(ctx, pgx.Identifier{"pgx_orders"}, []string{"id", "item"}, pgx.CopyFromRows([][]any{{9, "milk"}, {10, "sugar"}}))
		must(err)
	})
	mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
		if _, err := pool.Exec(r.Context(), "INSERT INTO pgx_orders (id, item) VALUES ($1, $2)", 7, "tea"); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("GET /wrong", func(w http.ResponseWriter, r *http.Request) {
		conn, err := pgx.Connect(r.Context(), os.Getenv("PG_DSN"))
		must(err)
		defer conn.Close(r.Context())
		if _, err := conn.Exec(r.Context(), "SELECT nothing FROM nowhere"); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	// By way of database/sql, which tells of it already.
	db, err := sql.Open("pgx", os.Getenv("PG_DSN"))
	must(err)
	defer db.Close()
	mux.HandleFunc("GET /sql", func(w http.ResponseWriter, r *http.Request) {
		var n int
		must(db.QueryRowContext(r.Context(), "SELECT count(*) FROM pgx_orders").Scan(&n))
		tx, err := db.BeginTx(context.Background(), nil)
		must(err)
		must(tx.Commit())
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"GET", "/orders/7"}, {"GET", "/blind"}, {"POST", "/orders"}, {"POST", "/twice"}, {"GET", "/wrong"}, {"GET", "/sql"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
	exec(ctx, pool, "DROP TABLE pgx_orders")
}

func exec(ctx context.Context, pool *pgxpool.Pool, statement string, args ...any) {
	_, err := pool.Exec(ctx, statement, args...)
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
