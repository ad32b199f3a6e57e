# An exact version, so that a build next year is the build of today.
ARG NODE_IMAGE=node:24.21.0-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM ${NODE_IMAGE}
# Of package.json; a test compares them.
LABEL org.opencontainers.image.title="client-predict" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.description="Guards card payments: fetches transactions, asks an MLflow model, mails every fraud, keeps every row, loses nothing"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=packages /app/node_modules ./node_modules
COPY package.json ./
COPY src ./src
# The default settings keep both SQLite files in data. A volume made from the image takes over owner and mode.
# Where only you may read your files, the user of the container could not read the program either.
# A base image with an older Node.js ends the build.
RUN node src/start.cjs && mkdir data && chown 1000:1000 data && chmod -R a+rX package.json src
VOLUME /app/data
USER 1000:1000
# It answers while the process turns, whatever is down outside: starting it again would not help against that.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 8080) + '/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# Not `npm start`: npm does not pass SIGTERM on.
CMD ["node", "-r", "./src/start.cjs", "src/main.ts"]
