// Command guanlan is the service of command bare with Guanlan's SDK: traces,
// metrics and logs.
package main

import (
	"fmt"
	"net"
	"net/http"

	"github.com/guanlan-io/guanlan/sdk"
	_ "github.com/guanlan-io/guanlan/sdk/auto"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "order", r.PathValue("id")) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	panic(http.Serve(l, sdk.Handler(mux)))
}
