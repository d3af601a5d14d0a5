// Package kubeapi runs a real Kubernetes API server in tests: that of the module in the
// folder server, with its etcd and the controllers that make pods. Tests only.
//
// It takes minutes to build, so it is built by `make kube` and nothing else. Nothing is written
// outside of a test's own folder.
package kubeapi

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Binary is the environment variable with the path of the server, which `make kube` sets.
// Without it tests of the server are skipped.
const Binary = "GUANLAN_KUBE"

// startFor bounds a start, which takes 3 s of a machine that does nothing else.
const startFor = 5 * time.Minute

// Object is an object of the API as JSON has it.
type Object map[string]any

// Server is a server that runs or was killed. Its methods fail the test if the server
// does not do what they ask.
type Server struct {
	// Dir is where the server keeps all: see the comment of its main package.
	Dir string
	// Addr is its host and port, the same after a restart.
	Addr string

	t testing.TB
	*process
}

type process struct {
	admin *http.Client
	run   *exec.Cmd // nil: none runs
	alive io.Closer // the server's standard input
	ended chan struct{}
}

// In is the server for a subtest: that one fails then.
func (s *Server) In(t testing.TB) *Server { return &Server{s.Dir, s.Addr, t, s.process} }

// Start starts a server that has nothing yet, with more flags of kube-apiserver, and
// stops it when the test ends.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	if os.Getenv(Binary) == "" {
		t.Skipf("without %s, the path of an API server: run make kube, which builds one in minutes", Binary)
	}
	dir, err := os.MkdirTemp("", "kube") // short: paths of sockets have some 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	// An address of its own, so that nobody takes the port while the server is down.
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.N(254), rand.N(255), 1+rand.N(254))
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{dir, l.Addr().String(), t, &process{}}
	_ = l.Close()
	t.Cleanup(s.Kill)
	s.Restart(flags...)
	return s
}

// URL is the server's address.
func (s *Server) URL() string { return "https://" + s.Addr }

// File is the content of a file in Dir.
func (s *Server) File(name string) []byte {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// Kill ends the server as the kernel does, with nothing said to anybody.
func (s *Server) Kill() {
	if s.run == nil {
		return
	}
	_ = s.run.Process.Kill()
	<-s.ended
	_ = s.alive.Close()
	s.run = nil
	if s.admin != nil {
		s.admin.CloseIdleConnections()
	}
}

// Restart kills the server if it runs, starts it with what it had and these flags, and waits
// until it is ready.
func (s *Server) Restart(flags ...string) {
	t := s.t
	t.Helper()
	s.Kill()
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s.run = exec.Command(os.Getenv(Binary), append([]string{s.Dir, s.Addr}, flags...)...)
	s.run.Stdout, s.run.Stderr = log, log
	if s.alive, err = s.run.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.run.Start(); err != nil {
		s.run = nil
		t.Fatalf("start the API server: %v", err)
	}
	s.ended = make(chan struct{})
	go func(run *exec.Cmd, ended chan struct{}) {
		_ = run.Wait()
		close(ended)
	}(s.run, s.ended)
	for end := time.Now().Add(startFor); !s.ready(); {
		select {
		case <-s.ended:
			t.Fatalf("the API server ended:\n%s", s.tail())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatalf("the API server is not ready after %s:\n%s", startFor, s.tail())
		}
	}
}

func (s *Server) tail() string {
	lines := strings.Split(string(s.File("log")), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

func (s *Server) ready() bool {
	if s.admin == nil {
		if _, err := os.Stat(filepath.Join(s.Dir, "made")); err != nil {
			return false
		}
		s.admin = s.Client("admin")
	}
	resp, err := s.admin.Get(s.URL() + "/readyz")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// Client is a client with the certificate in Dir of that name.
func (s *Server) Client(name string) *http.Client {
	s.t.Helper()
	pair, err := tls.X509KeyPair(s.File(name+".crt"), s.File(name+".key"))
	if err != nil {
		s.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.File("ca.crt"))
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}}}
}

// Do asks as who may do everything, and returns the answer. A body that is text is YAML.
// Unknown fields are refused.
func (s *Server) Do(method, path string, body any) (Object, error) {
	var in io.Reader
	kind := "application/json"
	switch body := body.(type) {
	case nil:
	case string:
		in, kind = strings.NewReader(body), "application/yaml"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	if method == http.MethodPatch {
		kind = "application/merge-patch+json"
	}
	req, err := http.NewRequest(method, s.URL()+path, in)
	if err != nil {
		return nil, err
	}
	if body != nil && method != http.MethodDelete {
		req.URL.RawQuery = "fieldValidation=Strict"
	}
	req.Header.Set("Content-Type", kind)
	resp, err := s.admin.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	var o Object
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return o, nil
}

// Create creates an object at the path of its kind.
func (s *Server) Create(path string, body any) Object { return s.must(http.MethodPost, path, body) }

// Patch merges into the object at a path, which may be its status.
func (s *Server) Patch(path string, body any) Object { return s.must(http.MethodPatch, path, body) }

// Get returns an object, or a list.
func (s *Server) Get(path string) Object { return s.must(http.MethodGet, path, nil) }

// Delete deletes an object at once: nobody here ends what runs in a pod.
func (s *Server) Delete(path string) {
	s.t.Helper()
	s.must(http.MethodDelete, path, Object{"gracePeriodSeconds": 0})
}

func (s *Server) must(method, path string, body any) Object {
	s.t.Helper()
	o, err := s.Do(method, path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	return o
}

// Parse reads an object as JSON, with arguments as fmt has them.
func Parse(t testing.TB, text string, args ...any) (o Object) {
	t.Helper()
	if err := json.Unmarshal(fmt.Appendf(nil, text, args...), &o); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return o
}

// At is the text at a path of fields, "" if there is none.
func (o Object) At(fields ...string) string {
	var v any = map[string]any(o)
	for _, f := range fields {
		m, _ := v.(map[string]any)
		v = m[f]
	}
	text, _ := v.(string)
	return text
}

// Items are the objects of a list.
func (o Object) Items() (all []Object) {
	items, _ := o["items"].([]any)
	for _, i := range items {
		all = append(all, i.(map[string]any))
	}
	return all
}

// Token is a token of a service account, as a pod gets it.
func (s *Server) Token(namespace, account string) string {
	s.t.Helper()
	return s.Create("/api/v1/namespaces/"+namespace+"/serviceaccounts/"+account+"/token",
		Object{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": Object{}}).At("status", "token")
}

// Kubeconfig writes a kubeconfig for a user's credentials, in the terms of that file,
// and returns its path. The server is at url, which may be a proxy's address.
func (s *Server) Kubeconfig(url string, user Object) string {
	s.t.Helper()
	text, err := json.Marshal(Object{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"contexts": []Object{{"name": "c", "context": Object{"cluster": "k", "user": "u"}}},
		"clusters": []Object{{"name": "k", "cluster": Object{"server": url, "certificate-authority": filepath.Join(s.Dir, "ca.crt")}}},
		"users":    []Object{{"name": "u", "user": user}}})
	if err != nil {
		s.t.Fatal(err)
	}
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Certify writes name.crt and name.key into Dir: those of the user of that name.
func (s *Server) Certify(name string) {
	s.t.Helper()
	ca, err := tls.X509KeyPair(s.File("ca.crt"), s.File("ca.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	t := &x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	cert, err := x509.CreateCertificate(crand.Reader, t, ca.Leaf, &key.PublicKey, ca.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	for file, b := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: cert}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(s.Dir, file), pem.EncodeToMemory(b), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}
