#requires -Version 5.1
# Runs the worker in a container with the settings of .env. Topics and database live in the volume `client-predict`.
# Extra arguments go to the worker, e.g.  .\run_client_predict.ps1 dead-letters
$ErrorActionPreference = 'Stop'

function Stop-With([string] $Message) {
    Write-Host $Message -ForegroundColor Red
    exit 1
}

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) {
    Stop-With 'Docker is not installed, or not on the PATH. Install Docker Desktop (Windows, macOS) or Docker Engine (Linux), then open a new terminal.'
}
$envFile = Join-Path $PSScriptRoot '.env'
if (-not (Test-Path -LiteralPath $envFile -PathType Leaf)) {
    Stop-With "There is no $envFile. Copy .env.example to .env and fill in PRODUCER_URL, MODEL_URL, SMTP_URL, ALERT_FROM and ALERT_TO."
}

# What docker writes to its error stream (5.1) and its exit code (7.4) would be exceptions while this is 'Stop'.
$ErrorActionPreference = 'Continue'
docker info *> $null
if ($LASTEXITCODE -ne 0) {
    Stop-With 'Docker does not answer. Start it (Docker Desktop, or: sudo systemctl start docker), then try again.'
}
docker image inspect client-predict *> $null
if ($LASTEXITCODE -ne 0) {
    Stop-With 'The image client-predict is not there yet. Run .\build_client_predict.ps1 first.'
}

$options = @()
# A terminal gets readable lines and Ctrl-C; a pipe or a scheduler gets JSON.
if (-not [Console]::IsInputRedirected -and -not [Console]::IsOutputRedirected) {
    $options += '--interactive', '--tty'
}
if ($args.Count -eq 0) {
    $options += '--name', 'client-predict'
    # HOST=0.0.0.0 lets the status page out of the container; from there it goes to this machine alone.
    if (Select-String -LiteralPath $envFile -Pattern '^HOST=0\.0\.0\.0' -Quiet) {
        $options += '--publish', '127.0.0.1:8080:8080'
    }
}
docker run --rm @options --env-file "$envFile" --volume client-predict:/app/data client-predict node -r ./src/start.cjs src/main.ts @args
exit $LASTEXITCODE
