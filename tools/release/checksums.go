package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"
)

// sum is the SHA-256 of a file, in hexadecimal.
type sum struct{ name, sha256 string }

// sums are those of all files that have been written so far, in the order of their names.
func sums(dir string) ([]sum, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var sums []sum
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256(data)
		sums = append(sums, sum{entry.Name(), hex.EncodeToString(digest[:])})
	}
	return sums, nil
}

// writeChecksums writes the sums as sha256sum -c reads them.
func writeChecksums(r *release) error {
	all, err := sums(r.output)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, s := range all {
		fmt.Fprintf(&text, "%s  %s\n", s.sha256, s.name)
	}
	return os.WriteFile(r.file("checksums.txt"), []byte(text.String()), 0o644)
}

// openKey reads minisign's secret key.
func openKey(path, password string) (key minisign.PrivateKey, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("read the key: %w", err)
	}
	if minisign.IsEncrypted(text) {
		if key, err = minisign.DecryptKey(password, text); err != nil {
			return key, fmt.Errorf("decrypt the key %s with the password in MINISIGN_PASSWORD: %w", path, err)
		}
	} else if err = key.UnmarshalText(text); err != nil {
		return key, fmt.Errorf("read the key %s: %w", path, err)
	}
	return key, nil
}

// sign signs the sums, and by them everything, in minisign's format. Neither comment has the time, which would differ.
func sign(r *release, key minisign.PrivateKey) error {
	path := r.file("checksums.txt")
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	message := minisign.NewReader(file)
	if _, err := io.Copy(io.Discard, message); err != nil {
		return fmt.Errorf("read the sums: %w", err)
	}
	signature := message.SignWithComments(key, "tracer "+r.version, "signature of tracer "+r.version)
	if err := os.WriteFile(path+".minisig", signature, 0o644); err != nil {
		return err
	}
	public, ok := key.Public().(minisign.PublicKey)
	if !ok {
		return fmt.Errorf("read the key %s: it has no public part", r.key)
	}
	fmt.Printf("signed: minisign -Vm %s -P %s\n", filepath.Base(path), public)
	return nil
}
