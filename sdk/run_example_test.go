package sdk_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
)

func ExampleRun() {
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.DiscardHandler))

	ctx, exit := context.WithCancel(context.Background()) // in a service: context.Background(), and signals
	var health sdk.Health
	// health.Add("db", db.PingContext)
	// health.AddOptional("redis", sdk.CheckCommand(cache.Ping))

	mux := http.NewServeMux()
	err := sdk.Run(ctx, &health,
		sdk.OnExit("db", func(context.Context) error { fmt.Println("db closed"); return nil }),
		sdk.OnExit("redis", func(context.Context) error { fmt.Println("redis closed"); return nil }),
		sdk.HTTP("127.0.0.1:0", health.Handler(sdk.Recover(mux))),
		sdk.Worker("mailer", func(ctx context.Context) error {
			exit()
			<-ctx.Done()
			fmt.Println("mailer ended")
			return nil
		}),
		sdk.PreStop(0), // in Kubernetes 5 s by default
	)
	fmt.Println("error:", err)
	// Output:
	// mailer ended
	// redis closed
	// db closed
	// error: <nil>
}
