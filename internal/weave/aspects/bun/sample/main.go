// Orders in PostgreSQL with Bun: models, relations, a transaction, plain SQL, what
// is not found, a statement that fails, calls without the context. It needs a
// server: PG_DSN says where.
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
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
)

type order struct {
	bun.BaseModel `bun:"table:bun_orders"`

	ID   int64 `bun:",pk"`
	Item string
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	pool, err := sql.Open("pgx", os.Getenv("PG_DSN"))
	must(err)
	db := bun.NewDB(pool, pgdialect.New())
	defer db.Close()
	ctx := context.Background()
	_, err = db.ExecContext(ctx, "DROP TABLE IF EXISTS bun_orders")
	must(err)
	_, err = db.NewCreateTable().Model((*order)(nil)).Exec(ctx)
	must(err)

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		must(db.RunInTx(r.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(&[]order{{ID: 7, Item: "tea"}, {ID: 8, Item: "milk"}}).Exec(ctx); err != nil {
				return err
			}
			_, err := tx.NewUpdate().Model(&order{ID: 7, Item: "coffee"}).WherePK().Exec(ctx)
			return err
		}))
		slog.InfoContext(r.Context(), "orders made", "number", 2)
	})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		var one order
		must(db.NewSelect().Model(&one).Where("id = ?", r.PathValue("id")).Scan(r.Context()))
		if err := db.NewSelect().Model(&one).Where("id = ?", 9).Scan(r.Context()); !errors.Is(err, sql.ErrNoRows) {
			panic(err)
		}
		fmt.Fprintln(w, one.Item)
	})
	// The context does not come along.
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		_, err := db.NewSelect().Model((*order)(nil)).Count(context.Background())
		must(err)
		var n int
		must(db.NewRaw("SELECT count(*) FROM bun_orders").Scan(context.Background(), &n))
	})
	mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
		if _, err := db.NewInsert().Model(&order{ID: 7, Item: "tea"}).Exec(r.Context()); err != nil {
			http.Error(w, "the order is there", http.StatusConflict)
		}
	})
	mux.HandleFunc("DELETE /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		_, err := db.NewDelete().Model((*order)(nil)).Where("id = ?", r.PathValue("id")).Exec(r.Context())
		must(err)
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"POST", "/orders"}, {"GET", "/orders/7"}, {"GET", "/blind"}, {"POST", "/twice"}, {"DELETE", "/orders/7"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
	_, err = db.NewDropTable().Model((*order)(nil)).Exec(ctx)
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
