// Command service is an HTTP service that knows nothing of tracing. It prints the
// addresses of its plain and of its TLS server.
package main

import (
	"context"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"
)

func main() {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}}
	call := func(w http.ResponseWriter, ctx context.Context, url string) {
		req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		resp, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
	}
	sql.Register("toy", toy{})
	db, _ := sql.Open("toy", "")
	mux := http.NewServeMux()
	items := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(10 * time.Millisecond)
		w.WriteHeader(http.StatusCreated)
	}
	mux.HandleFunc("GET /items/{id}", items)
	mux.HandleFunc("/items/", items) // before Go 1.22, which knows no methods and no wildcards
	mux.HandleFunc("/fast", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		}
	})
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) { call(w, r.Context(), r.FormValue("to")) })
	mux.HandleFunc("/spawn", func(w http.ResponseWriter, r *http.Request) {
		var wg sync.WaitGroup
		wg.Add(1)
		go func() {
			go func() {
				defer wg.Done()
				call(w, r.Context(), r.FormValue("to"))
			}()
		}()
		wg.Wait()
	})
	mux.HandleFunc("/unread", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/elsewhere", func(_ http.ResponseWriter, r *http.Request) { // the body is read by another goroutine
		done := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, r.Body); close(done) }()
		<-done
	})
	mux.HandleFunc("/tx", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if tx, err := db.BeginTx(ctx, nil); err == nil {
			_, _ = tx.ExecContext(ctx, "UPDATE stock SET n = 1")
			_ = tx.Commit()
			_ = tx.Rollback() // as a deferred one does
		}
		if tx, err := db.BeginTx(ctx, nil); err == nil {
			_ = tx.Rollback()
		}
		if _, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}); err != nil {
			w.WriteHeader(http.StatusConflict)
		}
	})
	mux.HandleFunc("/many", func(w http.ResponseWriter, r *http.Request) {
		for i := 0; i < 30; i++ {
			_, _ = db.Exec("UPDATE many SET n = n + 1")
		}
	})
	mux.HandleFunc("/sql", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		if rows, err := db.QueryContext(ctx, "SELECT name FROM items WHERE id = ?", 7); err == nil {
			_ = rows.Close()
		}
		_, _ = db.ExecContext(ctx, "insert into items values (1)")
		_, _ = db.ExecContext(ctx, "BROKEN")
		if st, err := db.PrepareContext(ctx, "DELETE FROM items"); err == nil {
			_, _ = st.ExecContext(ctx)
			if rows, err := st.QueryContext(ctx); err == nil {
				_ = rows.Close()
			}
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	secure := httptest.NewUnstartedServer(mux)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	fmt.Println(l.Addr(), secure.Listener.Addr())
	_ = (&http.Server{Handler: mux}).Serve(l)
}

// toy is a driver whose database has nothing in it.
type toy struct{}

func (toy) Open(string) (driver.Conn, error) { return toyConn{}, nil }

type toyConn struct{}

func (toyConn) Prepare(q string) (driver.Stmt, error) { return toyStmt(q), nil }
func (toyConn) Close() error                          { return nil }
func (toyConn) Begin() (driver.Tx, error)             { return toyTx{}, nil }

type toyTx struct{}

func (toyTx) Commit() error   { return &toyError{} }
func (toyTx) Rollback() error { return nil }

type toyStmt string

func (toyStmt) Close() error  { return nil }
func (toyStmt) NumInput() int { return -1 }
func (s toyStmt) Exec([]driver.Value) (driver.Result, error) {
	if s == "BROKEN" {
		return nil, &toyError{}
	}
	return driver.RowsAffected(1), nil
}
func (toyStmt) Query([]driver.Value) (driver.Rows, error) { return toyRows{}, nil }

type toyRows struct{}

func (toyRows) Columns() []string         { return nil }
func (toyRows) Close() error              { return nil }
func (toyRows) Next([]driver.Value) error { return io.EOF }

type toyError struct{}

func (*toyError) Error() string { return "broken" }
