// Package tarfile writes tar archives that depend on nothing but the content of files: no owners, no umask, no clock.
package tarfile

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// File is one of an archive.
type File struct {
	Name       string
	Executable bool
	Data       []byte
}

// Read reads a file that keeps its name in the archive, without the directory.
func Read(path string) (File, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	return File{filepath.Base(path), info.Mode()&0o100 != 0, data}, nil
}

// ReadDir reads the files of a directory, in the order of their names.
func ReadDir(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []File
	for _, entry := range entries {
		file, err := Read(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// Write writes an archive whose files were all modified at one time; 1970 if that is zero.
func Write(w io.Writer, files []File, modified time.Time) error {
	archive := tar.NewWriter(w)
	for _, file := range files {
		header := &tar.Header{Name: file.Name, Mode: 0o644, Size: int64(len(file.Data)), ModTime: modified}
		if file.Executable {
			header.Mode = 0o755
		}
		if err := archive.WriteHeader(header); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
		if _, err := archive.Write(file.Data); err != nil {
			return fmt.Errorf("archive %s: %w", file.Name, err)
		}
	}
	return archive.Close()
}

// WriteGzip writes such an archive compressed.
func WriteGzip(w io.Writer, files []File, modified time.Time) error {
	compressed := gzip.NewWriter(w)
	if err := Write(compressed, files, modified); err != nil {
		return err
	}
	return compressed.Close()
}
