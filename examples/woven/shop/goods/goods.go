// Package goods is what the shop sells, and its database of it.
package goods

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	_ "modernc.org/sqlite" // the driver
)

// Product is what is for sale.
type Product struct {
	SKU   string `json:"sku"`
	Name  string `json:"name"`
	Price int64  `json:"price"` // cents
	Stock int64  `json:"stock"`
	Sold  int64  `json:"sold,omitempty"`
}

const (
	// FullStock is how many there are of a product at first.
	FullStock = 10_000
	// SoldOut is the SKU of a product of which there never are any.
	SoldOut = "cup-qinghua"
)

// Catalogue returns what the shop sells.
func Catalogue() []Product {
	return []Product{
		{SKU: "tea-longjing", Name: "西湖龙井 Dragon Well tea 250 g", Price: 12800},
		{SKU: "tea-puer", Name: "云南普洱 Pu'er tea cake 357 g", Price: 9900},
		{SKU: "tea-oolong", Name: "Oolong tea 100 g", Price: 4500},
		{SKU: SoldOut, Name: "青花瓷杯 Blue-and-white cup, limited edition", Price: 39900},
		{SKU: "pot-yixing", Name: "宜兴紫砂壶 Yixing teapot", Price: 26800},
		{SKU: "kettle-steel", Name: "Steel kettle 1.2 l", Price: 5900},
		{SKU: "tray-bamboo", Name: "竹茶盘 Bamboo tea tray", Price: 7600},
		{SKU: "scale-kitchen", Name: "Kitchen scale", Price: 3200},
		{SKU: "book-tea", Name: "The Classic of Tea 茶经", Price: 2900},
		{SKU: "lamp-paper", Name: "Paper lamp", Price: 8800},
	}
}

// Create makes a fresh SQLite file with the catalogue and so many past sales. It
// returns the source to open with the driver "sqlite".
func Create(ctx context.Context, file string, sales int) (source string, err error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(file + suffix); err != nil && !os.IsNotExist(err) {
			return "", err
		}
	}
	source = "file:" + file + "?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=busy_timeout(5000)"
	if err := seed(ctx, source, sales); err != nil {
		return "", fmt.Errorf("fill database %q: %w", file, err)
	}
	return source, nil
}

func seed(ctx context.Context, source string, sales int) error {
	db, err := sql.Open("sqlite", source)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, `
CREATE TABLE product (sku TEXT PRIMARY KEY, name TEXT NOT NULL, price INTEGER NOT NULL);
CREATE TABLE stock (sku TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
CREATE TABLE reservation (id TEXT PRIMARY KEY, sku TEXT NOT NULL, quantity INTEGER NOT NULL, state TEXT NOT NULL);
CREATE TABLE sale (sku TEXT NOT NULL, quantity INTEGER NOT NULL);`)
	if err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	catalogue := Catalogue()
	for _, p := range catalogue {
		quantity := FullStock
		if p.SKU == SoldOut {
			quantity = 0
		}
		if _, err := db.ExecContext(ctx, `INSERT INTO product VALUES (?, ?, ?)`, p.SKU, p.Name, p.Price); err != nil {
			return fmt.Errorf("insert product: %w", err)
		}
		if _, err := db.ExecContext(ctx, `INSERT INTO stock VALUES (?, ?)`, p.SKU, quantity); err != nil {
			return fmt.Errorf("insert stock: %w", err)
		}
	}
	_, err = db.ExecContext(ctx, `
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO sale SELECT p.sku, 1 + i % 3 FROM n CROSS JOIN product p ON p.rowid = 1 + i % ?`, sales, len(catalogue))
	if err != nil {
		return fmt.Errorf("insert sales: %w", err)
	}
	return nil
}
