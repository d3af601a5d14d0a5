package kube

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/internal/testkit/kubeapi"
)

// What the test binary is run for again: printing credentials, or being in a pod.
const credentialEnv, podEnv = "GUANLAN_KUBE_CREDENTIAL", "GUANLAN_KUBE_POD"

func TestMain(m *testing.M) {
	if token := os.Getenv(credentialEnv); token != "" {
		fmt.Printf(`{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": %q}}`, token)
		return
	}
	if at := os.Getenv(podEnv); at != "" {
		if err := tellInPod(at); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// tellInPod prints who has an address, as a process in a pod sees it.
func tellInPod(at string) error {
	c, err := Open(Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for c.Err() != nil {
		<-c.Tried()
		time.Sleep(5 * time.Millisecond)
	}
	name, namespace := c.Workload(netip.MustParseAddrPort(at))
	fmt.Print(namespace + "/" + name)
	return nil
}

// credentials are those of the forms that the guide names.
func credentials(t *testing.T, s *kubeapi.Server) {
	s.Certify("guanlan")
	s.Create(bindings, kubeapi.Parse(t, `{"metadata": {"name": "guanlan"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": %q},
		"subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "guanlan"}]}`, agent))
	token := s.Token(agentsIn, agent)
	file := filepath.Join(t.TempDir(), "token")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(file, []byte(token+"\n"), 0o600))
	self, err := os.Executable()
	must(err)
	for what, user := range map[string]kubeapi.Object{
		"a token":                       {"token": token},
		"a token in a file":             {"tokenFile": file},
		"a client certificate in files": {"client-certificate": filepath.Join(s.Dir, "guanlan.crt"), "client-key": filepath.Join(s.Dir, "guanlan.key")},
		"a client certificate":          {"client-certificate-data": s.File("guanlan.crt"), "client-key-data": s.File("guanlan.key")},
		"a program": {"exec": kubeapi.Object{"apiVersion": "client.authentication.k8s.io/v1", "command": self, "interactiveMode": "Never",
			"env": []kubeapi.Object{{"name": credentialEnv, "value": token}}}},
	} {
		t.Run(what, func(t *testing.T) {
			f := followWith(t, s.Kubeconfig(s.URL(), user), soon, nil)
			f.works(t)
			f.is(t, "10.1.0.5", "shop/order")
		})
	}

	// Nobody gets credentials who is not the server.
	f := followWith(t, kubeconfigWithCA(t, s, s.URL(), "sa.crt", kubeapi.Object{"token": token}), soon, nil)
	<-f.Tried()
	if err := f.Err(); !errors.As(err, new(x509.UnknownAuthorityError)) || !strings.Contains(err.Error(), "follow pods: list: ask "+s.Addr+": tls: failed to verify certificate") {
		t.Errorf("with another authority's certificate: %v", err)
	}
	f.is(t, "10.1.0.5", "/")

	// A file with a token that has expired, and one whose account is made anew while it is
	// followed, until they have others. client-go reads such files each minute.
	old := filepath.Join(t.TempDir(), "token")
	must(os.WriteFile(old, []byte(expired(t, s)), 0o600))
	late := followWith(t, s.Kubeconfig(s.URL(), kubeapi.Object{"tokenFile": old}), soon, nil)
	<-late.Tried()
	var got *Refusal
	if !errors.As(late.Err(), &got) || got.Code != http.StatusUnauthorized || !strings.Contains(late.Err().Error(), "the server answers 401 Unauthorized: ") {
		t.Errorf("with a token that has expired: %v", late.Err())
	}
	l := newLink(t, s)
	f = followWith(t, s.Kubeconfig(l.url(), kubeapi.Object{"tokenFile": file}), soon, nil)
	f.works(t)
	l.set(cut)
	accounts := inCluster + agentsIn + "/serviceaccounts"
	s.Delete(accounts + "/" + agent)
	s.Create(accounts, kubeapi.Object{"metadata": kubeapi.Object{"name": agent}})
	client, base, err := connect(Options{Kubeconfig: s.Kubeconfig(s.URL(), kubeapi.Object{"token": token})})
	must(err)
	eventually(t, func() string { return "the server refuses the old token" }, func() bool { // it keeps for seconds what it found
		resp, err := client.Get(base.String() + "/api/v1/pods")
		must(err)
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusUnauthorized
	})
	l.set(through)
	eventually(t, func() string { return fmt.Sprint("a refusal, not ", f.Err()) }, func() bool { return errors.As(f.Err(), &got) })
	token = s.Token(agentsIn, agent)
	must(os.WriteFile(old, []byte(token), 0o600))
	must(os.WriteFile(file, []byte(token), 0o600))
	late.works(t)
	f.works(t)
	barePod(t, s, "shop", "renewed", "10.1.0.77")
	f.is(t, "10.1.0.77", "shop/renewed")
	late.is(t, "10.1.0.77", "shop/renewed")

	t.Run("in a pod", func(t *testing.T) { inPod(t, s.In(t)) })
	t.Run("behind a path", func(t *testing.T) { behindPath(t, s.In(t)) })
}

// expired is a token of the guide's account that was good for an hour, two hours ago.
func expired(t *testing.T, s *kubeapi.Server) string {
	t.Helper()
	pair, err := tls.X509KeyPair(s.File("sa.crt"), s.File("sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	var parts []string
	for _, part := range []any{map[string]any{"alg": "ES256", "typ": "JWT"}, map[string]any{
		"iss": "https://kubernetes.default.svc", "aud": []string{"https://kubernetes.default.svc"}, "sub": "system:serviceaccount:" + agentsIn + ":" + agent,
		"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600,
		"kubernetes.io": map[string]any{"namespace": agentsIn, "serviceaccount": map[string]any{"name": agent,
			"uid": s.Get(inCluster+agentsIn+"/serviceaccounts/"+agent).At("metadata", "uid")}},
	}} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, ".")))
	a, b, err := ecdsa.Sign(rand.Reader, pair.PrivateKey.(*ecdsa.PrivateKey), sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(append(parts, base64.RawURLEncoding.EncodeToString(append(a.FillBytes(make([]byte, 32)), b.FillBytes(make([]byte, 32))...))), ".")
}

// inPod runs a process that has the files and the environment of a container, by a mount
// that it alone sees.
func inPod(t *testing.T, s *kubeapi.Server) {
	const at = "/var/run/secrets/kubernetes.io/serviceaccount"
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, told bytes.Buffer
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), podEnv+"=10.1.0.5:8080", "KUBERNETES_SERVICE_HOST="+host, "KUBERNETES_SERVICE_PORT="+port)
	cmd.Stdout, cmd.Stderr = &out, &told
	ca, token := s.File("ca.crt"), s.Token(agentsIn, agent)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its namespace
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", "/var/run", "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := os.MkdirAll(at, 0o700); err != nil {
				return err
			}
			if err := errors.Join(os.WriteFile(filepath.Join(at, "ca.crt"), ca, 0o600), os.WriteFile(filepath.Join(at, "token"), []byte(token), 0o600)); err != nil {
				return err
			}
			return cmd.Run()
		}()
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN, for a mount of its own")
	} else if err != nil {
		t.Fatalf("%v: %s", err, &told)
	}
	if got := out.String(); got != "shop/order" {
		t.Errorf("in a pod: %q", got)
	}
}

// behindPath is how clusters are reached through Rancher and the like.
func behindPath(t *testing.T, s *kubeapi.Server) {
	to, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Transport: s.Client("server").Transport, FlushInterval: -1, // watches
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	front := httptest.NewTLSServer(http.StripPrefix("/k8s/clusters/c-1", proxy))
	t.Cleanup(front.Close)
	if err := os.WriteFile(filepath.Join(s.Dir, "front.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	path := kubeconfigWithCA(t, s, front.URL+"/k8s/clusters/c-1", "front.crt", kubeapi.Object{"token": s.Token(agentsIn, agent)})
	f := followWith(t, path, soon, nil)
	t.Cleanup(f.Close) // before the front
	f.works(t)
	barePod(t, s, "shop", "behind", "10.1.0.88")
	f.is(t, "10.1.0.88", "shop/behind")
}

// silence is a server that is gone without a word, as with its machine: connections stay and
// nobody answers.
func silence(t *testing.T, s *kubeapi.Server) {
	// By default it takes half a minute, and another quarter. client-go keeps one transport for
	// one authority, which another line makes another.
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "2")
	if err := os.WriteFile(filepath.Join(s.Dir, "same.crt"), append(s.File("ca.crt"), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLink(t, s)
	f := followWith(t, kubeconfigWithCA(t, s, l.url(), "same.crt", kubeapi.Object{"token": s.Token(agentsIn, agent)}), soon, nil)
	f.works(t)
	l.set(hole)
	barePod(t, s, "shop", "unseen", "10.8.0.1")
	eventually(t, func() string { return fmt.Sprint("all kinds fail: ", f.Err()) }, func() bool {
		return f.Err() != nil && strings.Count(f.Err().Error(), "follow ") == len(f.kinds)
	})
	l.set(through)
	f.is(t, "10.8.0.1", "shop/unseen")
	f.works(t)
}
