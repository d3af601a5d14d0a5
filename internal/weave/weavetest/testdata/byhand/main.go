// Orders over Gin, gRPC and Redis, each of which is instrumented by hand: a woven
// build adds nothing to that but what it cannot see.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/alicebob/miniredis/v2"
	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/guanlan-io/guanlan/sdk"
	sdkgin "github.com/guanlan-io/guanlan/sdk/gin"
	sdkgrpc "github.com/guanlan-io/guanlan/sdk/grpc"
	sdkredis "github.com/guanlan-io/guanlan/sdk/redis"
)

type service struct {
	testpb.UnimplementedTestServiceServer
	rdb *redis.Client
}

// UnaryCall knows no context.
func (s *service) UnaryCall(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	slog.Info("served")
	return &testpb.SimpleResponse{}, s.rdb.Set(context.Background(), "order", "tea", 0).Err()
}

func main() {
	s, err := sdk.Start(context.Background(), sdk.Options{})
	must(err)
	defer func() { must(s.Shutdown(context.Background())) }()
	mini, err := miniredis.Run()
	must(err)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr(), Protocol: 2})
	sdkredis.Options{Keys: true}.Instrument(rdb)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	g := grpc.NewServer(sdkgrpc.ServerOptions()...)
	testpb.RegisterTestServiceServer(g, &service{rdb: rdb})
	go func() { must(g.Serve(l)) }()
	conn, err := grpc.NewClient(l.Addr().String(), sdkgrpc.DialOptions(grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	must(err)
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultErrorWriter = io.Discard
	r := gin.New()
	r.Use(gin.Recovery(), sdkgin.Middleware())
	r.GET("/orders/:id", func(c *gin.Context) {
		_, err := testpb.NewTestServiceClient(conn).UnaryCall(context.Background(), &testpb.SimpleRequest{})
		must(err)
		if c.Param("id") == "8" {
			_ = c.Error(errors.New("no tea"))
			panic("out of coffee")
		}
		c.Status(204)
	})
	server := httptest.NewServer(r)
	for _, id := range []string{"7", "8"} {
		res, err := http.Get(server.URL + "/orders/" + id)
		must(err)
		must(res.Body.Close())
		fmt.Println(res.StatusCode)
	}
	g.GracefulStop()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
