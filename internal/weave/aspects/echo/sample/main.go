// Orders over Echo: routes with parameters, a group, a handler that ignores the
// request's context, errors, a panic.
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

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "in stock") }))
	defer backend.Close()

	router := echo.New()
	router.Logger.SetOutput(io.Discard)
	router.Use(middleware.Recover())
	router.GET("/orders/:id", func(c echo.Context) error {
		slog.InfoContext(c.Request().Context(), "order read", "order", c.Param("id"))
		return c.String(http.StatusOK, "order "+c.Param("id"))
	})
	// The context does not come along, neither to the log nor to the call.
	router.GET("/stock/*", func(c echo.Context) error {
		slog.Info("stock read", "item", c.Param("*"))
		if err := get(context.Background(), backend.URL); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	admin := router.Group("/admin")
	admin.POST("/orders/:id/refund", func(echo.Context) error { return errors.New("the bank said no") })
	admin.GET("/orders/:id", func(echo.Context) error { return echo.NewHTTPError(http.StatusForbidden, "not for you") })
	admin.GET("/panic", func(echo.Context) error { panic("out of coffee") })

	server := httptest.NewServer(router)
	defer server.Close()
	call("GET", server.URL+"/orders/7")
	call("GET", server.URL+"/stock/tea/green")
	call("POST", server.URL+"/admin/orders/7/refund")
	call("GET", server.URL+"/admin/orders/7")
	call("GET", server.URL+"/admin/panic")
	call("GET", server.URL+"/nowhere")
	call("DELETE", server.URL+"/orders/7")
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
