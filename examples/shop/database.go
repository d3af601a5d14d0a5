package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	_ "modernc.org/sqlite"

	"github.com/guanlan-io/guanlan/sdk"
	sdkredis "github.com/guanlan-io/guanlan/sdk/redis"
)

// openDatabase opens a fresh SQLite file with the shop's products and so many
// past sales, traced.
func openDatabase(ctx context.Context, file string, sales int) (*sql.DB, error) {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(file + suffix); err != nil && !os.IsNotExist(err) {
			return nil, err
		}
	}
	source := "file:" + file + "?_pragma=journal_mode(wal)&_pragma=synchronous(normal)&_pragma=busy_timeout(5000)"
	if err := seed(ctx, source, sales); err != nil {
		return nil, fmt.Errorf("fill it: %w", err)
	}
	db, err := sdk.SQL{Namespace: "shop"}.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(8)
	return db, nil
}

// openCache connects to the cache, traced and measured.
func openCache(addr string) *redis.Client {
	c := redis.NewClient(&redis.Options{
		Addr:                     addr,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	sdkredis.Instrument(c)
	return c
}

const (
	fullStock  = 10_000
	soldOutSKU = "cup-qinghua" // never any left
)

// catalogue is what the shop sells.
var catalogue = []product{
	{SKU: "tea-longjing", Name: "西湖龙井 Dragon Well tea 250 g", Price: 12800},
	{SKU: "tea-puer", Name: "云南普洱 Pu'er tea cake 357 g", Price: 9900},
	{SKU: "tea-oolong", Name: "Oolong tea 100 g", Price: 4500},
	{SKU: soldOutSKU, Name: "青花瓷杯 Blue-and-white cup, limited edition", Price: 39900},
	{SKU: "pot-yixing", Name: "宜兴紫砂壶 Yixing teapot", Price: 26800},
	{SKU: "kettle-steel", Name: "Steel kettle 1.2 l", Price: 5900},
	{SKU: "tray-bamboo", Name: "竹茶盘 Bamboo tea tray", Price: 7600},
	{SKU: "scale-kitchen", Name: "Kitchen scale", Price: 3200},
	{SKU: "book-tea", Name: "The Classic of Tea 茶经", Price: 2900},
	{SKU: "lamp-paper", Name: "Paper lamp", Price: 8800},
}

func seed(ctx context.Context, source string, sales int) error {
	db, err := sql.Open("sqlite", source) // not traced: no one asked for it
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
	for _, p := range catalogue {
		quantity := fullStock
		if p.SKU == soldOutSKU {
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
