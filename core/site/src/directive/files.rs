//! What is about files: where they are, and what is said of them.

use super::*;

directives! {
    /// `mimetype.*`.
    mimetype: MimeType {
        /// Types by suffix of the file's name; the longest suffix that fits counts, `""` is for the rest.
        assign: Named<Text> = named_empty(), "mimetype.assign" Connection server::mimetypes;
        /// Whether a file's extended attribute counts before.
        use_xattr: bool = false, "mimetype.use-xattr" Connection boolean;
    }

    /// `etag.*`: what a file's tag is made of.
    etag: Etag {
        /// Its number in the file system.
        use_inode: bool = true, "etag.use-inode" Connection boolean;
        /// When it was written.
        use_mtime: bool = true, "etag.use-mtime" Connection boolean;
        /// How large it is.
        use_size: bool = true, "etag.use-size" Connection boolean;
    }

    /// mod_alias.
    alias: Alias {
        /// Prefixes of paths, and what takes their place below the file system's root.
        url: Named<Text> = named_empty(), "alias.url" Connection server::aliases;
    }

    /// mod_dirlisting.
    dir_listing: DirListing {
        /// Whether directories are listed.
        activate: bool = false, "dir-listing.activate" Connection boolean, "server.dir-listing" Connection boolean;
        /// Whether the page's frame is made.
        auto_layout: bool = true, "dir-listing.auto-layout" Connection boolean;
        /// Seconds for which a listing is kept, and where; `None`: not at all.
        cache: Option<server::ListingCache> = None, "dir-listing.cache" Connection server::listing_cache;
        /// Whether the header file is text.
        encode_header: bool = true, "dir-listing.encode-header" Connection boolean;
        /// Whether the readme file is text.
        encode_readme: bool = true, "dir-listing.encode-readme" Connection boolean;
        /// The page's character set.
        encoding: Option<Text> = None, "dir-listing.encoding" Connection optional_text;
        /// Names that are left out.
        exclude: Arc<[Pattern]> = Arc::from([]), "dir-listing.exclude" Connection patterns;
        /// A style sheet.
        external_css: Option<Text> = None, "dir-listing.external-css" Connection optional_text;
        /// A script.
        external_js: Option<Text> = None, "dir-listing.external-js" Connection optional_text;
        /// Whether names that begin with a dot are left out.
        hide_dotfiles: bool = true, "dir-listing.hide-dotfiles" Connection boolean;
        /// Whether the header file is left out.
        hide_header_file: bool = false, "dir-listing.hide-header-file" Connection boolean;
        /// Whether the readme file is left out.
        hide_readme_file: bool = false, "dir-listing.hide-readme-file" Connection boolean;
        /// The last line.
        set_footer: Option<Text> = None, "dir-listing.set-footer" Connection optional_text;
        /// The file above the list; `enable` is HEADER.txt.
        show_header: Option<Text> = None, "dir-listing.show-header" Connection server::header_file;
        /// The file below it; `enable` is README.txt.
        show_readme: Option<Text> = None, "dir-listing.show-readme" Connection server::readme_file;
        /// Whether the list is in order of names.
        sort: bool = true, "dir-listing.sort" Connection boolean;
    }

    /// mod_evhost.
    evhost: Evhost {
        /// The document root with parts of the host: `%0` to `%9`, `%{1.2}`, `%_`.
        path_pattern: Option<server::HostPattern> = None, "evhost.path-pattern" Connection server::host_pattern;
    }

    /// mod_indexfile.
    index_file: IndexFile {
        /// Files that stand for their directory, the first that is there; one that begins with `/` is below the root.
        names: Texts = empty(), "index-file.names" Connection texts, "server.indexfiles" Connection texts;
    }

    /// mod_simple_vhost: `server_root` + host + `document_root`.
    simple_vhost: SimpleVhost {
        /// Logs what is looked for.
        debug: u16 = 0, "simple-vhost.debug" Connection short;
        /// The host that stands for unknown ones.
        default_host: Option<Text> = None, "simple-vhost.default-host" Connection optional_text;
        /// Below the host's directory.
        document_root: Option<Text> = None, "simple-vhost.document-root" Connection optional_text;
        /// Where hosts' directories are.
        server_root: Option<Text> = None, "simple-vhost.server-root" Connection optional_text;
    }

    /// mod_ssi.
    ssi: Ssi {
        /// Whether tags and times are sent.
        conditional_requests: bool = false, "ssi.conditional-requests" Connection boolean;
        /// The type of what is made.
        content_type: Option<Text> = None, "ssi.content-type" Connection optional_text;
        /// Whether commands are run.
        exec: bool = true, "ssi.exec" Connection boolean;
        /// Suffixes of files with includes.
        extension: Texts = empty(), "ssi.extension" Connection texts;
        /// How deep includes include.
        recursion_max: u16 = 0, "ssi.recursion-max" Connection short;
    }

    /// mod_staticfile.
    static_file: StaticFile {
        /// Whether a path that goes on behind a file is refused.
        disable_pathinfo: bool = false, "static-file.disable-pathinfo" Connection boolean;
        /// Whether tags are sent.
        etags: bool = true, "static-file.etags" Connection boolean;
        /// Suffixes of files that are not sent.
        exclude_extensions: Texts = empty(), "static-file.exclude-extensions" Connection texts;
    }

    /// mod_userdir.
    userdir: UserDir {
        /// Whether `/~user/` is a home.
        active: bool = true, "userdir.active" Connection boolean;
        /// Where homes are; `None`: as the system knows them.
        basepath: Option<Text> = None, "userdir.basepath" Connection optional_text;
        /// Users that have none.
        exclude_user: Texts = empty(), "userdir.exclude-user" Connection texts;
        /// Users that have one; all when it is empty.
        include_user: Texts = empty(), "userdir.include-user" Connection texts;
        /// Whether homes are below their first letter.
        letterhomes: bool = false, "userdir.letterhomes" Connection boolean;
        /// The directory in a home; `None` switches the module off.
        path: Option<Text> = None, "userdir.path" Connection some_text;
    }

    /// mod_deflate, and mod_compress under its older names.
    deflate: Deflate {
        /// Types that are compressed; one that ends with `*` is a prefix, as is every one without parameters.
        mimetypes: Texts = empty(), "deflate.mimetypes" Connection texts, "compress.filetype" Connection texts;
        /// Encodings, the one that is liked best first.
        allowed_encodings: Arc<[ContentEncoding]> = deflate::all(), "deflate.allowed-encodings" Connection deflate::encodings, "compress.allowed-encodings" Connection deflate::encodings;
        /// KiB beyond which nothing is compressed.
        max_compress_size: u32 = 128 * 1024, "deflate.max-compress-size" Connection int, "compress.max-filesize" Connection int;
        /// Bytes below which nothing is.
        min_compress_size: u16 = 256, "deflate.min-compress-size" Connection short;
        /// 1 to 9; `None`: the library's.
        compression_level: Option<u8> = None, "deflate.compression-level" Connection deflate::level;
        /// Of no consequence here.
        output_buffer_size: u16 = 0, "deflate.output-buffer-size" Connection short;
        /// KiB that are compressed in one go.
        work_block_size: u16 = 2048, "deflate.work-block-size" Connection short;
        /// The load beyond which nothing is compressed, in hundredths; 0 has no bound.
        max_loadavg: u32 = 0, "deflate.max-loadavg" Connection deflate::load, "compress.max-loadavg" Connection deflate::load;
        /// Where compressed files are kept; `None`: nowhere.
        cache_dir: Option<Text> = None, "deflate.cache-dir" Connection optional_text, "compress.cache-dir" Connection optional_text;
        /// What each library is told.
        params: DeflateParams = DeflateParams::default(), "deflate.params" Connection deflate::params;
    }

    /// mod_expire.
    expire: ExpireDirectives {
        /// By prefix of the path.
        url: Named<Expire> = named_empty(), "expire.url" Connection expire::named;
        /// By type; one that ends with `*` is a prefix.
        mimetypes: Named<Expire> = named_empty(), "expire.mimetypes" Connection expire::named;
    }
}
