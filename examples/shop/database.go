package main

import (
	"context"
	"database/sql"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/guanlan-io/guanlan/examples/woven/shop/goods"
	"github.com/guanlan-io/guanlan/sdk"
	sdkredis "github.com/guanlan-io/guanlan/sdk/redis"
)

// openDatabase makes a fresh SQLite file with the shop's products and so many
// past sales, and opens it, traced.
func openDatabase(ctx context.Context, file string, sales int) (*sql.DB, error) {
	source, err := goods.Create(ctx, file, sales) // not traced: no one asked for it
	if err != nil {
		return nil, err
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
