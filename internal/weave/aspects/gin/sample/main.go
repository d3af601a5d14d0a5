// Orders over Gin: routes with parameters, a group, a handler that ignores the
// request's context, an error, a panic.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/gin-gonic/gin"
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultErrorWriter = io.Discard
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))

	router := gin.New()
	router.Use(gin.Recovery())
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "in stock") }))
	defer backend.Close()

	router.GET("/orders/:id", func(c *gin.Context) {
		slog.InfoContext(c.Request.Context(), "order read", "order", c.Param("id"))
		c.String(http.StatusOK, "order %s", c.Param("id"))
	})
	// The context does not come along, neither to the log nor to the call.
	router.GET("/stock/*item", func(c *gin.Context) {
		slog.Info("stock read", "item", c.Param("item"))
		if err := get(context.Background(), backend.URL); err != nil {
			_ = c.Error(err)
		}
		c.Status(http.StatusNoContent)
	})
	admin := router.Group("/admin")
	admin.POST("/orders/:id/refund", func(c *gin.Context) {
		_ = c.AbortWithError(http.StatusInternalServerError, errors.New("the bank said no"))
	})
	admin.GET("/panic", func(c *gin.Context) { panic("out of coffee") })

	server := httptest.NewServer(router)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("GET", server.URL+"/stock/tea/green")
	call("POST", server.URL+"/admin/orders/7/refund")
	call("GET", server.URL+"/admin/panic")
	call("GET", server.URL+"/nowhere")
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func call(method, url string) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		panic(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	fmt.Println(method, resp.StatusCode)
}
