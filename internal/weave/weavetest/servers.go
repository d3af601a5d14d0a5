//go:build unix

package weavetest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Postgres starts a PostgreSQL server that ends with the test and returns how to
// reach it. It skips the test, with the reason, where none is installed; with
// CI=true it fails it.
func Postgres(t testing.TB) (dsn string) {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs postgresql")
		}
		t.Skip("PostgreSQL is not installed: /usr/lib/postgresql/*/bin/initdb is not there")
	}
	bin := filepath.Dir(found[len(found)-1])
	// Not t.TempDir, whose parent other users cannot enter.
	dir, err := os.MkdirTemp("", "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var as *syscall.SysProcAttr
	if os.Getuid() == 0 { // which PostgreSQL refuses
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(dir, "data")
	setUp := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "test", "--no-sync")
	setUp.SysProcAttr, setUp.Dir = as, dir
	if text, err := setUp.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, text)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", dir, "-F")
	server.SysProcAttr, server.Dir = as, dir
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT) // fast shutdown
		_ = server.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; {
		ready := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_isready"), "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-t", "1")
		if ready.Run() == nil {
			return fmt.Sprintf("postgres://test@127.0.0.1:%d/postgres?sslmode=disable", port)
		}
		if time.Now().After(deadline) {
			t.Fatal("PostgreSQL does not answer")
		}
		time.Sleep(20 * time.Millisecond) // between two tries
	}
}

// Mongo starts a server that speaks MongoDB's protocol and ends with the test,
// and returns its URI. It is FerretDB, from the module in dir, on the PostgreSQL
// server that dsn names.
func Mongo(t testing.TB, dir, dsn string) (uri string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "ferret")
	// Its own SQLite takes minutes to compile.
	if err := Plain(dir, program, "-tags=ferretdb_no_sqlite"); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(program, dsn)
	server.Env = environment()
	var told bytes.Buffer
	server.Stderr = &told
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		_ = server.Process.Kill()
		_ = server.Wait()
		t.Fatalf("FerretDB: %v\n%s", err, told.String())
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
	})
	return strings.TrimSpace(line)
}
