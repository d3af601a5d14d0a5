// Command ferret is a server for the samples that speak MongoDB's protocol:
// FerretDB, on a PostgreSQL server that its argument names. It writes its URI as
// the first line and ends with an interrupt.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: ferret postgres://…")
		os.Exit(2)
	}
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(postgres string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Handler:       "postgresql",
		PostgreSQLURL: postgres,
	})
	if err != nil {
		return fmt.Errorf("start FerretDB: %w", err)
	}
	// The port is open by now; requests wait in it until Run takes them.
	fmt.Println(server.MongoDBURI())
	return server.Run(ctx)
}
