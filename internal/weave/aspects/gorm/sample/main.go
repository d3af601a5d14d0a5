// Orders in PostgreSQL with GORM: create, find, update, delete, preload, a
// transaction, a hook, plain SQL, what is not found, a statement that fails, calls
// without the context. It needs a server: PG_DSN says where.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

type order struct {
	ID    int64 `gorm:"primaryKey"`
	Item  string
	Lines []line `gorm:"foreignKey:OrderID"`
}

func (order) TableName() string { return "gorm_orders" }

type line struct {
	ID      int64 `gorm:"primaryKey"`
	OrderID int64
	Text    string
}

func (line) TableName() string { return "gorm_lines" }

// BeforeCreate is called by GORM.
func (o *order) BeforeCreate(tx *gorm.DB) error {
	if o.Item == "" {
		return errors.New("an order has an item")
	}
	return nil
}

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	db, err := gorm.Open(postgres.Open(os.Getenv("PG_DSN")), &gorm.Config{Logger: logger.Discard})
	must(err)
	for _, statement := range []string{
		"DROP TABLE IF EXISTS gorm_orders, gorm_lines",
		"CREATE TABLE gorm_orders (id BIGINT PRIMARY KEY, item TEXT NOT NULL)",
		"CREATE TABLE gorm_lines (id BIGINT PRIMARY KEY, order_id BIGINT NOT NULL, text TEXT NOT NULL)",
	} {
		must(db.Exec(statement).Error)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		tx := db.WithContext(r.Context())
		must(tx.Create(&order{ID: 7, Item: "tea", Lines: []line{{ID: 1, Text: "green"}, {ID: 2, Text: "black"}}}).Error)
		slog.InfoContext(r.Context(), "order made", "order", 7)
		must(tx.Transaction(func(tx *gorm.DB) error {
			return tx.Model(&order{ID: 7}).Update("item", "coffee").Error
		}))
	})
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		tx := db.WithContext(r.Context())
		var o order
		must(tx.Preload("Lines").First(&o, r.PathValue("id")).Error)
		if err := tx.First(new(order), 8).Error; !errors.Is(err, gorm.ErrRecordNotFound) {
			panic(err)
		}
		fmt.Fprintln(w, o.Item)
	})
	// The context does not come along.
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		var n int64
		must(db.Model(&order{}).Where("item = ?", "coffee").Count(&n).Error)
		must(db.WithContext(context.Background()).Raw("SELECT count(*) FROM gorm_lines").Scan(&n).Error)
	})
	mux.HandleFunc("POST /twice", func(w http.ResponseWriter, r *http.Request) {
		if err := db.WithContext(r.Context()).Create(&order{ID: 7, Item: "tea"}).Error; err != nil {
			http.Error(w, "the order is there", http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /empty", func(w http.ResponseWriter, r *http.Request) {
		if err := db.WithContext(r.Context()).Create(&order{ID: 9}).Error; err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("DELETE /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		must(db.WithContext(r.Context()).Delete(&order{}, r.PathValue("id")).Error)
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"POST", "/orders"}, {"GET", "/orders/7"}, {"GET", "/blind"}, {"POST", "/twice"}, {"POST", "/empty"}, {"DELETE", "/orders/7"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
	must(db.Exec("DROP TABLE gorm_orders, gorm_lines").Error)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
