package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/guanlan-io/guanlan/examples/woven/shop/goods"
)

// reservation is goods set aside for an order.
type reservation struct {
	ID       string `json:"id"`
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Amount   int64  `json:"amount"` // cents
}

const (
	productTTL = 15 * time.Second
	// stocktakeHold is how long a stocktake keeps everyone else from writing.
	stocktakeHold = 1200 * time.Millisecond
)

// inventory knows the products and how many are left. Its database takes one
// writer at a time; reads go through the cache.
type inventory struct {
	db    *sql.DB
	cache *redis.Client
}

func runInventory(ctx context.Context, c config) error {
	source, err := goods.Create(ctx, c.database, c.sales)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer db.Close()
	db.SetMaxOpenConns(8)
	inv := &inventory{db: db, cache: openCache(c.cache)}
	defer inv.cache.Close()
	if c.stocktake > 0 {
		go inv.stocktakes(ctx, c.stocktake)
	}
	return serveHTTP(ctx, c.inventory, inv.routes())
}

func (inv *inventory) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /products", inv.search)
	mux.HandleFunc("GET /products/{sku}", inv.product)
	mux.HandleFunc("POST /reservations", inv.reserve)
	mux.HandleFunc("DELETE /reservations/{id}", inv.release)
	mux.HandleFunc("POST /reservations/{id}/ship", inv.ship)
	return mux
}

func (inv *inventory) product(w http.ResponseWriter, r *http.Request) {
	ctx, sku := r.Context(), r.PathValue("sku")
	key := "product:" + sku
	if hit, err := inv.cache.Get(ctx, key).Bytes(); err == nil {
		var p goods.Product
		if json.Unmarshal(hit, &p) == nil {
			reply(w, http.StatusOK, p)
			return
		}
	} else if !errors.Is(err, redis.Nil) {
		slog.Warn("cache did not answer", "key", key, "error", err)
	}

	p := goods.Product{SKU: sku}
	err := inv.db.QueryRowContext(ctx,
		"SELECT p.name, p.price, s.quantity FROM product p JOIN stock s ON s.sku = p.sku WHERE p.sku = ?",
		sku).Scan(&p.Name, &p.Price, &p.Stock)
	if errors.Is(err, sql.ErrNoRows) {
		err = &statusError{Status: http.StatusNotFound, Message: fmt.Sprintf("no product %q", sku)}
	}
	if err != nil {
		fail(w, "look up product", err)
		return
	}
	if text, err := json.Marshal(p); err == nil {
		inv.cache.Set(ctx, key, text, productTTL) // a lost entry is looked up again
	}
	reply(w, http.StatusOK, p)
}

// Searching by name is fast. Ordering by sales has to add up a table of sales
// that has no index: the slow query to be found.
const (
	searchByName  = "SELECT p.sku, p.name, p.price, 0 FROM product p WHERE p.name LIKE '%' || ? || '%' ORDER BY p.name LIMIT 20"
	searchBySales = "SELECT p.sku, p.name, p.price, SUM(s.quantity) AS sold FROM product p LEFT JOIN sale s ON lower(s.sku) = lower(p.sku)" +
		" WHERE p.name LIKE '%' || ? || '%' GROUP BY p.sku ORDER BY sold DESC LIMIT 20"
)

func (inv *inventory) search(w http.ResponseWriter, r *http.Request) {
	query := searchByName
	if r.FormValue("sort") == "sales" {
		query = searchBySales
	}
	rows, err := inv.db.Query(query, r.FormValue("q"))
	if err != nil {
		fail(w, "search", err)
		return
	}
	defer rows.Close()
	found := []goods.Product{}
	for rows.Next() {
		var p goods.Product
		if err := rows.Scan(&p.SKU, &p.Name, &p.Price, &p.Sold); err != nil {
			fail(w, "search", err)
			return
		}
		found = append(found, p)
	}
	if err := rows.Err(); err != nil {
		fail(w, "search", err)
		return
	}
	reply(w, http.StatusOK, found)
}

func (inv *inventory) reserve(w http.ResponseWriter, r *http.Request) {
	var res reservation
	if err := json.NewDecoder(r.Body).Decode(&res); err != nil {
		fail(w, "reserve", &statusError{Status: http.StatusBadRequest, Message: err.Error()})
		return
	}
	res.ID = "rsv-" + rand.Text()[:10]
	err := inv.inTx(func(tx *sql.Tx) error {
		// The write comes first: it waits its turn, where a read that becomes
		// a write would be refused.
		done, err := tx.Exec("UPDATE stock SET quantity = quantity - ? WHERE sku = ? AND quantity >= ?", res.Quantity, res.SKU, res.Quantity)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return &statusError{Status: http.StatusConflict, Message: fmt.Sprintf("%s is out of stock (售罄)", res.SKU)}
		}
		if err := tx.QueryRow("SELECT price * ? FROM product WHERE sku = ?", res.Quantity, res.SKU).Scan(&res.Amount); err != nil {
			return err
		}
		_, err = tx.Exec("INSERT INTO reservation (id, sku, quantity, state) VALUES (?, ?, ?, 'reserved')", res.ID, res.SKU, res.Quantity)
		return err
	})
	if err != nil {
		fail(w, "reserve", err)
		return
	}
	inv.cache.Del(context.Background(), "product:"+res.SKU) // its stock has changed
	slog.Info("goods reserved", "reservation", res.ID, "sku", res.SKU, "quantity", res.Quantity)
	reply(w, http.StatusCreated, res)
}

func (inv *inventory) release(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	err := inv.inTx(func(tx *sql.Tx) error {
		var sku string
		var quantity int64
		err := tx.QueryRow("DELETE FROM reservation WHERE id = ? AND state = 'reserved' RETURNING sku, quantity", id).Scan(&sku, &quantity)
		if errors.Is(err, sql.ErrNoRows) {
			return &statusError{Status: http.StatusNotFound, Message: fmt.Sprintf("no open reservation %q", id)}
		} else if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE stock SET quantity = quantity + ? WHERE sku = ?", quantity, sku)
		return err
	})
	if err != nil {
		fail(w, "release", err)
		return
	}
	slog.Info("goods released", "reservation", id)
	w.WriteHeader(http.StatusNoContent)
}

func (inv *inventory) ship(w http.ResponseWriter, r *http.Request) {
	if _, err := inv.db.Exec("UPDATE reservation SET state = 'shipped' WHERE id = ?", r.PathValue("id")); err != nil {
		fail(w, "ship", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// inTx runs f in a transaction and commits it unless f fails.
func (inv *inventory) inTx(f func(*sql.Tx) error) error {
	tx, err := inv.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

func fail(w http.ResponseWriter, doing string, err error) {
	if refused := (*statusError)(nil); errors.As(err, &refused) {
		slog.Warn(doing+" refused", "reason", refused.Message)
	} else {
		slog.Error(doing+" failed", "error", err)
	}
	replyError(w, err)
}

// stocktakes counts the goods every so often until ctx ends.
func (inv *inventory) stocktakes(ctx context.Context, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			inv.stocktake()
		case <-ctx.Done():
			return
		}
	}
}

// stocktake holds the write lock much too long: the reason behind the orders
// that are slow now and then.
func (inv *inventory) stocktake() {
	err := inv.inTx(func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE stock SET quantity = ? WHERE sku <> ?", goods.FullStock, goods.SoldOut)
		time.Sleep(stocktakeHold) // counting
		return err
	})
	if err != nil {
		slog.Error("stocktake given up", "error", err)
		return
	}
	slog.Warn("stocktake held the write lock (盘点占用写锁)", "held", stocktakeHold)
}
