// Command service uses what the tests look for.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Header, r.URL, r.Host) })
	if len(os.Args) > 1 {
		pprof.Do(context.Background(), pprof.Labels("a", "b"), func(context.Context) {})
		go http.ListenAndServe("127.0.0.1:0", mux)
		go http.ListenAndServeTLS("127.0.0.1:0", "", "", mux)
		fmt.Println(http.Get(os.Args[1]))
		db, err := sql.Open(os.Args[1], "")
		fmt.Println(err)
		rows, err := db.QueryContext(context.Background(), "")
		fmt.Println(rows, err)
		st, _ := db.Prepare("")
		fmt.Println(st.Exec())
	}
}
